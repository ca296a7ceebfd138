"""Whole runs of small studies: what is run, what is kept, and what goes wrong without ending the study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
import torch
from polars.testing import assert_frame_equal
from torch import nn

import harness
from harness.contracts import FORGET, METHODS, Run, View, fixed, method
from harness.farm import POPULATION
from harness.ledger import Silent, Summary
from harness.planner import Plan, make_plan
from harness.selection import NothingMatches, Selection
from harness.store import KEYS, SCHEMAS, LeaseHeld, Store
from harness.study import load_study
from harness.unit import Kind, Unit
from harness.views import Written
from harness.work.unit import Status

Unlearn = Callable[[nn.Module], nn.Module]


def run(study: Path, root: Path, **arguments: Any) -> Summary:
    """Run a study without ranking and report, which have tests of their own."""
    return harness.run(study, str(root), views=lambda plan, store: None, **arguments)


def table(root: Path, name: str) -> pl.DataFrame:
    """Return a whole table in the order of its key."""
    return harness.scan(str(root), name).collect().sort(KEYS[name])


def declare(name: str, unlearn: Unlearn) -> None:
    """Declare a method that does this to the model."""

    class Played:
        """Do what a test says."""

        rate: float = fixed(1.0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return unlearn(model)

    method(reads={FORGET}, name=name, source="a test")(Played)


def study_with(folder: Path, *methods: str, **changes: Any) -> Path:
    """Write the plain study with these methods."""
    return tiny_study.write_study(folder, tiny_study.PLAIN, methods=list(methods), **changes)


class Noted(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, list[Unit], int]] = []
        self.ends: list[tuple[Unit, Status]] = []
        self.finished = 0

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        self.begun.append((plan.id, list(to_run), cached))

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        assert (seconds >= 0, busy) == (True, 1)
        self.ends.append((unit, status))

    def finish(self) -> None:
        self.finished += 1


def test_every_unit_of_the_plan_is_done_in_one_attempt(tiny: Path, finished: Path) -> None:
    plan, units = make_plan(load_study(tiny)), table(finished, "units")
    assert set(units["unit"]) == set(plan.units)
    assert units.select("status", "attempt").unique().rows() == [("done", 1)]
    for row in units.iter_rows(named=True):
        unit = plan.units[row["unit"]]
        assert {name: row[name] for name in unit.columns()} == unit.columns()
        given = METHODS[unit.method.name].defaults() if not unit.kind.from_scratch else {}
        assert json.loads(row["hyperparameters"]) == given
        assert row["seconds"] >= row["work_seconds"] >= 0
        assert (row["steps"] > 0) == (row["method"] != "original" or unit.kind.from_scratch)
    assert table(finished, "failures").is_empty()
    assert list((finished / "commits").iterdir()) == []
    assert Store.open(str(finished)).plans() == [plan.id]


def test_every_kind_of_unit_leaves_its_metrics(tiny: Path, finished: Path) -> None:
    def measured(*parts: str) -> set[tuple[str, str]]:
        return {(part, metric) for part in parts for metric in ("accuracy", "loss")}

    trial = measured("retain", "forget", "val", "test") | {("val", "population_mia"), ("test", "population_mia")}
    trial |= {("forget", "mia_confidence"), ("forget", "mia_entropy"), ("test", "f1"), ("test", "f1_over_chance")}
    trial |= {(part, "images_seen") for part in ("retain", "forget", "val")}
    trial |= {("all", "optimiser_steps"), ("all", "artifact_bytes")}
    expected = {
        Kind.ORIGINAL: measured("train", "val", "test"),
        Kind.RETRAIN: trial,
        Kind.UNLEARN: trial | {("all", "changed_weights")},
        Kind.TIMING: {("all", "seconds")},
        Kind.SHADOW: measured("test"),
        Kind.SHADOW_RETRAIN: measured("test"),
        Kind.SHADOW_UNLEARN: measured("test"),
    }
    metrics = table(finished, "metrics")
    assert metrics["value"].null_count() == 0
    for unit in make_plan(load_study(tiny)).units.values():
        rows = metrics.filter(unit=unit.id).select("part", "metric").rows()
        of_original = (
            {("all", "entanglement")} if unit.method.name == "original" and unit.kind == Kind.UNLEARN else set()
        )
        assert set(rows) == expected[unit.kind] | of_original


def test_the_farm_leaves_a_signal_for_every_pool_image(tiny: Path, finished: Path) -> None:
    signals, pools = table(finished, "signals"), table(finished, "pools")
    assert pools.group_by("pool", "kind").len().sort("pool").rows() == [("canary", "random", 40), ("clean", "own", 40)]
    canary, clean = pools.filter(pool="canary"), pools.filter(pool="clean")
    assert (canary["label"] != canary["trained_label"]).all()
    assert (clean["label"] == clean["trained_label"]).all()
    assert set(canary["index"]).isdisjoint(clean["index"])
    farm = signals.filter(pl.col("kind").str.starts_with("shadow"))
    population, farm = (farm.filter(keep) for keep in (pl.col("pool") == POPULATION, pl.col("pool") != POPULATION))
    assert dict(Counter(population["kind"])) == {"shadow_retrain": 4, "shadow_unlearn": 24}
    assert not population["member"].explode().any()
    assert farm.filter(pl.col("n") != 40).is_empty()
    count = Counter(farm["kind"])
    assert count == {"shadow": 4 * 2, "shadow_retrain": 4, "shadow_unlearn": 24}
    inside = farm.filter(kind="shadow").select("pool", "seed", "member").sort("pool", "seed")
    for even, odd in zip(inside["member"][::2], inside["member"][1::2], strict=True):
        assert (even.to_numpy() ^ odd.to_numpy()).all()  # a pair of shadows is complementary


def test_weights_of_originals_stay_and_those_of_shadows_go(tiny: Path, finished: Path) -> None:
    plan, store = make_plan(load_study(tiny)), Store.open(str(finished))
    kept = {unit.id for unit in plan.units.values() if store.has_model(unit.id)}
    assert kept == {unit.id for unit in plan.units.values() if unit.kind == Kind.ORIGINAL}


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "kinds"), [("none", set()), ("all", {"original", "retrain", "unlearn"})])
def test_the_study_says_which_weights_stay(tmp_path: Path, keep: str, kinds: set[str]) -> None:
    study = study_with(tmp_path, "finetune", keep_models=keep, measures=["accuracy", "run_time"])
    run(study, tmp_path / "runs")
    store = Store.open(str(tmp_path / "runs"))
    units = make_plan(load_study(study)).units.values()
    assert {unit.kind.value for unit in units if store.has_model(unit.id)} == kinds
    assert all(store.has_model(unit.id) == (unit.kind.value in kinds) for unit in units)


@pytest.mark.usefixtures("without_mlflow")
def test_a_second_run_runs_nothing_and_changes_no_table(tiny: Path, own: Path) -> None:
    before = {name: table(own, name) for name in SCHEMAS}
    models = {path: path.stat().st_mtime_ns for path in (own / "models").iterdir()}
    noted = Noted()
    summary = harness.run(tiny, str(own), progress=noted)
    assert (dict(summary.ran), summary.cached, summary.not_tried, summary.complete) == ({}, 48, 0, True)
    assert (noted.begun, noted.ends, noted.finished) == ([], [], 0)
    for name in SCHEMAS:
        assert_frame_equal(table(own, name), before[name])
    assert {path: path.stat().st_mtime_ns for path in (own / "models").iterdir()} == models


def test_only_what_is_new_is_run_and_the_shadows_that_it_starts_from(tiny: Path, own: Path, tmp_path: Path) -> None:
    before = table(own, "units")
    farm = {**tiny_study.TINY["farm"], "shadows": 6, "retrains": 2}
    wider = tiny_study.write_study(tmp_path, seeds=3, methods=["finetune", "ct", "gradient_ascent"], farm=farm)
    noted = Noted()
    summary = run(wider, own, progress=noted)
    new = set(summary.plan.units) - set(before["unit"])
    shadows = {unit.id for unit in summary.plan.units.values() if unit.kind == Kind.SHADOW}
    assert summary.cached == 48
    assert {unit.id for unit, _ in noted.ends} == new | shadows  # the weights of shadows do not stay
    others = pl.col("unit").is_in(set(before["unit"]) - shadows)
    assert_frame_equal(table(own, "units").filter(others), before.filter(others))


def test_an_original_whose_weights_are_gone_is_trained_again_to_the_same_weights(
    tiny: Path, own: Path, tmp_path: Path
) -> None:
    before, metrics = table(own, "units"), tiny_study.tables(own)["metrics"]
    for path in (own / "models").iterdir():
        path.unlink()
    assert dict(run(tiny, own).ran) == {}  # nobody needs them
    wider = tiny_study.write_study(tmp_path, methods=["finetune", "ct", "gradient_ascent"], farm=None)
    noted = Noted()
    run(wider, own, progress=noted)
    again = [unit for unit, _ in noted.ends if unit.kind == Kind.ORIGINAL]
    assert len(again) == 2
    for unit in again:
        digests = [frame.filter(unit=unit.id)["model"].item() for frame in (before, table(own, "units"))]
        assert digests[0] == digests[1] is not None
    known = pl.col("unit").is_in(before["unit"].to_list())
    assert_frame_equal(tiny_study.tables(own)["metrics"].filter(known), metrics)


def test_where_chooses_units_and_brings_their_needs(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune", "ct", seeds=2), tmp_path / "runs"
    summary = run(study, root, selection=Selection({"method": "ct", "seed": "1"}))
    assert table(root, "units").select("kind", "method", "seed").sort("kind").rows() == [
        ("original", "original", 1),
        ("unlearn", "ct", 1),
    ]
    assert (dict(summary.ran), summary.cached, summary.not_tried) == ({"done": 2}, 0, 0)
    rest = run(study, root)
    assert (dict(rest.ran), rest.cached) == ({"done": 8}, 2)


def test_limit_counts_units_but_not_their_needs(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune", "ct", seeds=2), tmp_path / "runs"
    selection = Selection({"kind": "unlearn"}, limit=1)
    assert [run(study, root, selection=selection).ran["done"] for _ in range(3)] == [2, 1, 1]


def test_a_choice_of_nothing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune"), tmp_path / "runs"
    with pytest.raises(NothingMatches, match=r"no unit of plain-\w+ has method=finetun; did you mean 'finetune'\?"):
        run(study, root, selection=Selection({"method": "finetun"}))
    with pytest.raises(NothingMatches, match=r"no unit of plain-\w+ has kind=original and method=finetune at once"):
        run(study, root, selection=Selection({"kind": "original", "method": "finetune"}))
    assert not root.exists()


def boom(model: nn.Module) -> nn.Module:
    raise ZeroDivisionError("no luck today")


def leave(model: nn.Module) -> nn.Module:
    sys.exit("I am off")


def not_utf8(model: nn.Module) -> nn.Module:
    raise OSError("no such file " + os.fsdecode(b"caf\xe9"))


def wrapped(model: nn.Module) -> nn.Module:
    try:
        return boom(model)
    except ZeroDivisionError as error:
        raise ValueError("x" * 50_000) from error


class Mute(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError


def mute(model: nn.Module) -> nn.Module:
    raise Mute


def nothing(model: nn.Module) -> nn.Module:
    return None  # type: ignore[return-value]


def forever(model: nn.Module) -> nn.Module:
    while True:
        pass


@pytest.mark.usefixtures("declaring")
@pytest.mark.parametrize(
    ("unlearn", "phase", "exception", "message"),
    [
        (boom, "unlearn", "ZeroDivisionError", "no luck today"),
        (leave, "unlearn", "SystemExit", "I am off"),
        (not_utf8, "unlearn", "OSError", "no such file caf\\udce9"),
        (mute, "unlearn", "Mute", "cannot say what is wrong"),
        (nothing, "unlearn", "NotItsModel", "returned NoneType; it must return its model"),
        pytest.param(
            *(forever, "unlearn", "TimeLimit", "the unit took more than its limit of 20 s"), marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_method_that_fails_is_a_row_and_the_study_goes_on(
    tmp_path: Path, unlearn: Unlearn, phase: str, exception: str, message: str
) -> None:
    declare("failing", unlearn)
    limit = 20 if unlearn is forever else 3600  # the other units are not to exceed it on a busy machine
    study, root = study_with(tmp_path, "failing", "finetune", time_limit=limit), tmp_path / "runs"
    summary = run(study, root)
    assert (dict(summary.ran), summary.not_tried, summary.complete) == ({"done": 4, "failed": 1}, 0, False)
    (unit,) = summary.failed
    assert unit.method.name == "failing"
    (failure,) = table(root, "failures").iter_rows(named=True)
    assert (failure["unit"], failure["attempt"], failure["phase"]) == (unit.id, 1, phase)
    assert (failure["exception"], message in failure["message"]) == (exception, True)
    assert "harness/work/" in failure["traceback"]
    assert exception in failure["traceback"]
    assert table(root, "units").filter(unit=unit.id).select("status", "attempt").rows() == [("failed", 1)]
    assert table(root, "metrics").filter(unit=unit.id).is_empty()
    assert unit.id not in Store.open(str(root)).committed()


@pytest.mark.usefixtures("declaring")
def test_a_failure_tells_its_cause_however_long_its_message(tmp_path: Path) -> None:
    declare("wrapped", wrapped)
    run(study_with(tmp_path, "wrapped"), tmp_path / "runs")
    (failure,) = table(tmp_path / "runs", "failures").iter_rows(named=True)
    assert (failure["exception"], len(failure["message"])) == ("ValueError", 2000)
    assert "no luck today" in failure["traceback"]
    assert "in wrapped" in failure["traceback"]
    assert len(failure["traceback"]) < 21_000


@pytest.mark.usefixtures("declaring")
def test_a_failed_unit_is_tried_again_by_the_next_run_and_counts_its_attempts(tmp_path: Path) -> None:
    luck = iter([False, False, True])

    def third_time(model: nn.Module) -> nn.Module:
        return model if next(luck) else boom(model)

    declare("third_time", third_time)
    study, root = study_with(tmp_path, "third_time"), tmp_path / "runs"
    assert [dict(run(study, root).ran) for _ in range(4)] == [{"done": 3, "failed": 1}, {"failed": 1}, {"done": 1}, {}]
    assert table(root, "failures")["attempt"].to_list() == [1, 2]
    units = table(root, "units").filter(method="third_time")
    assert units.select("status", "attempt").rows() == [("done", 3)]
    assert set(table(root, "metrics").filter(method="third_time")["attempt"]) == {3}
    assert set(table(root, "units").filter(pl.col("method") != "third_time")["attempt"]) == {1}


@pytest.mark.usefixtures("declaring")
def test_what_needs_a_failed_unit_waits_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.work import unit as work

    study, root = study_with(tmp_path, "finetune"), tmp_path / "runs"
    with monkeypatch.context() as broken:
        broken.setattr(work, "train_original", lambda unit, bench, phase: boom(nn.Identity()))
        summary = run(study, root)
    assert (dict(summary.ran), summary.not_tried, summary.complete) == ({"failed": 1, "done": 1}, 2, False)
    assert dict(run(study, root).ran) == {"done": 3}


@pytest.mark.usefixtures("declaring")
def test_a_diverged_model_is_a_result_and_is_not_tried_again(tmp_path: Path) -> None:
    def diverge(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(torch.nan)
        return model

    declare("diverging", diverge)
    study, root = study_with(tmp_path, "diverging"), tmp_path / "runs"
    summary = run(study, root)
    assert (dict(summary.ran), summary.complete) == ({"done": 3, "diverged": 1}, True)
    assert table(root, "units").filter(method="diverging")["status"].to_list() == ["diverged"]
    values = table(root, "metrics").filter(method="diverging", metric="loss")["value"]
    assert values.null_count() == len(values) == 4
    assert table(root, "failures").is_empty()
    assert dict(run(study, root).ran) == {}


@pytest.mark.usefixtures("declaring")
def test_what_a_method_does_to_torch_does_not_reach_the_next_unit(tmp_path: Path) -> None:
    def rude(model: nn.Module) -> nn.Module:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        raise RuntimeError

    declare("a_rude_one", rude)
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    try:
        assert run(study_with(tmp_path, "a_rude_one", "finetune"), beside).ran["done"] == 4
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    run(study_with(tmp_path, "finetune"), alone)
    others = pl.col("method") != "a_rude_one"
    assert_frame_equal(tiny_study.tables(beside)["metrics"].filter(others), tiny_study.tables(alone)["metrics"])


def test_two_drivers_do_not_run_one_plan_at_once(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune"), tmp_path / "runs"
    plan = make_plan(load_study(study))
    with Store.open(str(root), write=True).lease(plan.id):
        says = rf"plan {plan.id} is being run by pid {os.getpid()} on .* since .*; wait for it or stop it"
        with pytest.raises(LeaseHeld, match=says):
            run(study, root)
    assert dict(run(study, root).ran) == {"done": 4}


def test_a_dead_driver_is_no_obstacle(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune"), tmp_path / "runs"
    plan = make_plan(load_study(study))
    code = (
        "import os, sys; from harness.store import Store\n"
        "with Store.open(sys.argv[1], write=True).lease(sys.argv[2]): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(root), plan.id], check=True)
    assert (root / "studies" / f"{plan.id}.lease").exists()
    assert dict(run(study, root).ran) == {"done": 4}


def test_commits_are_folded_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import ledger

    """But none that nobody was told of yet, as workers may leave them: who is told reads the commit."""
    study, root = study_with(tmp_path, "finetune", "ct", seeds=2), tmp_path / "runs"
    pending: list[int] = []
    told: list[str] = []
    folded: list[Collection[str]] = []
    fold = Store.fold

    def noted(store: Store, units: Collection[str]) -> int:
        folded.append(set(units))
        return fold(store, units)

    class Watching(Noted):
        def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
            pending.append(len(list((root / "commits").glob("*.arrow"))))
            told.append(unit.id)

    monkeypatch.setattr(ledger, "FOLD_UNITS", 3)
    monkeypatch.setattr(Store, "fold", noted)
    run(study, root, progress=Watching())
    assert pending == [1, 2, 3] * 3 + [1]
    everything = set(told)  # at the beginning, and at the end, what any driver left
    assert folded == [everything, set(told[:3]), set(told[3:6]), set(told[6:9]), everything]


def test_a_run_of_the_public_face_takes_a_study_a_path_or_a_name(tmp_path: Path) -> None:
    study, root = study_with(tmp_path, "finetune"), tmp_path / "runs"
    assert harness.run(harness.load_study(study), str(root), views=lambda plan, store: None).ran["done"] == 4
    assert harness.run(str(study), str(root), views=lambda plan, store: None).cached == 4


def test_the_views_are_rebuilt_from_the_tables_after_the_lease_began(tmp_path: Path) -> None:
    seen: list[Mapping[str, object]] = []

    def views(plan: Plan, store: Store) -> Written:
        seen.append({"committed": len(store.committed()), "running": store.lease_holder(plan.id) is not None})
        return Written(tmp_path)

    summary = harness.run(study_with(tmp_path, "finetune"), str(tmp_path / "runs"), views=views)
    assert seen == [{"committed": 4, "running": True}]
    assert summary.views == Written(tmp_path)
    assert Store.open(str(tmp_path / "runs")).lease_holder(summary.plan.id) is None
