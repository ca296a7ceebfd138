"""A stored unit run once more: equal where nothing changed, and told where something did."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from tiny_study import harness

from harness import repro
from harness.contracts import METHODS
from harness.planner import make_plan
from harness.repro import NotReproducible, find, reproduce
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind, Unit

CPU = torch.device("cpu")


def one_of(tiny: Path, kind: Kind, method: str) -> tuple[Unit, dict[str, Unit]]:
    units = dict(make_plan(load_study(tiny)).units)
    return next(unit for unit in units.values() if (unit.kind, unit.method.name) == (kind, method)), units


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (Kind.ORIGINAL, "original"),
        (Kind.RETRAIN, "retrain"),
        (Kind.UNLEARN, "finetune"),
        (Kind.SHADOW_UNLEARN, "ct"),  # its shadow's weights are gone: it is trained again
        (Kind.TIMING, "ct"),
    ],
)
def test_every_kind_gives_the_same_again_bit_for_bit(tiny: Path, finished: Path, kind: Kind, method: str) -> None:
    unit, units = one_of(tiny, kind, method)
    before = sorted(path for path in finished.rglob("*") if "mlflow" not in path.name)
    found = reproduce(unit, units, Store.open(str(finished)), CPU)
    assert found.same, found.differences
    assert found.tolerance == 0
    assert found.compared > (5 if kind == Kind.TIMING else 15)
    assert sorted(path for path in finished.rglob("*") if "mlflow" not in path.name) == before


@pytest.fixture
def altered(tiny: Path, own: Path) -> tuple[Path, Unit]:
    """A root in which one stored accuracy is wrong by less than anyone would see."""
    unit, _ = one_of(tiny, Kind.UNLEARN, "finetune")
    changed = 0
    for path in (own / "tables" / "metrics").rglob("*.parquet"):
        stored = pq.read_table(path, partitioning=None)
        rows = pl.DataFrame(stored)
        wrong = (pl.col("unit") == unit.id) & (pl.col("part") == "test") & (pl.col("metric") == "accuracy")
        changed += rows.filter(wrong).height
        rows = rows.with_columns(value=pl.when(wrong).then(pl.col("value") + 1e-12).otherwise("value"))
        pq.write_table(rows.to_arrow().cast(stored.schema.remove_metadata()), path)  # nothing says that it was changed
    assert changed == 1
    return own, unit


def test_a_number_that_is_off_by_the_last_bits_is_found(altered: tuple[Path, Unit]) -> None:
    root, unit = altered
    answer = harness("repro", unit.id[:10], "--root", root)
    assert answer.code == 1
    assert "1 of " in answer.out
    assert "test accuracy value" in answer.out
    printed = json.loads(harness("repro", unit.id, "--root", root, "--json").out)
    assert [one["table"] for one in printed["differences"]] == ["metrics"]
    assert not printed["same"]


def test_what_ran_on_a_gpu_is_not_asked_for_its_last_bits_on_a_cpu(
    tiny: Path, altered: tuple[Path, Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root, unit), (_, units) = altered, one_of(tiny, Kind.UNLEARN, "finetune")
    store = Store.open(str(root))
    assert repro._devices(store, unit) == ["cpu"]
    monkeypatch.setattr(repro, "_devices", lambda *_: ["cuda:NVIDIA H200"])
    found = reproduce(unit, units, store, CPU)
    assert (found.same, found.tolerance) == (True, 0.01)


@pytest.mark.parametrize(("deterministic", "tolerance"), [(True, 0.0), (False, 0.01)])
def test_a_deterministic_study_is_asked_for_its_last_bits_on_a_gpu_of_the_same_kind(
    deterministic: bool, tolerance: float, tiny: Path, altered: tuple[Path, Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root, unit), (_, units) = altered, one_of(tiny, Kind.UNLEARN, "finetune")
    monkeypatch.setattr(repro, "_devices", lambda *_: ["cuda:NVIDIA H200"])
    monkeypatch.setattr(repro, "describe", lambda _: "cuda:NVIDIA H200")
    monkeypatch.setattr(repro, "_was_deterministic", lambda *_: deterministic)
    found = reproduce(unit, units, Store.open(str(root)), CPU)
    assert (found.tolerance, found.same) == (tolerance, tolerance > 0)


def test_a_share_of_a_study_is_drawn_by_the_seed_and_run_again(tiny: Path, finished: Path) -> None:
    first, second = (harness("audit-determinism", tiny, "--root", finished, "--share", "0.05") for _ in range(2))
    assert first.code == 0
    assert first.out == second.out
    assert first.lines == []
    drawn = [line.split()[0] for line in first.out.splitlines()[:-1]]
    assert len(set(drawn)) == len(drawn) > 1
    assert first.out.splitlines()[-1].startswith(f"{len(drawn)} of {len(drawn)} units, drawn from ")


def test_what_cannot_be_compared_is_refused_in_one_line(tiny: Path, finished: Path, own: Path) -> None:
    unit, units = one_of(tiny, Kind.UNLEARN, "finetune")
    store = Store.open(str(own))
    for begun, says in (("zz", "no unit of the plans"), ("", "units of the plans")):
        with pytest.raises(NotReproducible, match=says):
            find(store, begun)
    for part in (own / "tables" / "units").rglob("*.parquet"):
        part.unlink()
    with pytest.raises(NotReproducible, match="has no result to compare with"):
        reproduce(unit, units, Store.open(str(own)), CPU)
    older = replace(unit, method=replace(unit.method, version=METHODS["finetune"].version + 1))
    with pytest.raises(NotReproducible, match=r"'finetune' is now of version \d; the column versions"):
        repro._refuse_other_version(older)
    shutil.rmtree(own)
    assert harness("audit-determinism", tiny, "--root", own).code == 2
