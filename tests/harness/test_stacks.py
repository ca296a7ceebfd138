"""Which shadows go together, and a study that trains them so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import tiny_farm
import tiny_study
from polars.testing import assert_frame_equal
from tiny_lab import SHADOW, unit

from harness import registry, repro
from harness.engine.device import pick_device
from harness.stacks import Stacks
from harness.store import Store
from harness.unit import Kind, Named
from harness.yamlfile import InvalidFile

SHADOWS = [unit(Kind.SHADOW, seed=seed) for seed in range(5)]
OTHERS = [
    replace(SHADOW, architecture=Named("allcnn", 1)),
    replace(SHADOW, recipe=replace(SHADOW.recipe, epochs=3)),
    unit(Kind.SHADOW_UNLEARN, "finetune", pool="clean"),
    unit(Kind.ORIGINAL),
]


def none(unit: str) -> bool:
    return False


def test_as_many_go_together_as_were_asked_for_and_no_other_kind() -> None:
    waiting = [*OTHERS, *SHADOWS]
    assert Stacks(3, none).join(SHADOWS[0], waiting) == SHADOWS[:3]
    assert Stacks(9, none).join(SHADOWS[0], waiting) == SHADOWS
    assert Stacks(9, none).join(SHADOWS[3], waiting, most=2) == [SHADOWS[3], SHADOWS[0]]
    assert Stacks(1, none).join(SHADOWS[0], waiting) == SHADOWS[:1]
    for other in OTHERS:
        assert Stacks(9, none).join(other, waiting) == [other]


def test_what_was_begun_before_goes_by_itself() -> None:
    stacks = Stacks(9, {SHADOWS[1].id}.__contains__)
    assert stacks.join(SHADOWS[0], SHADOWS) == [SHADOWS[0], *SHADOWS[2:]]
    assert stacks.join(SHADOWS[1], SHADOWS) == [SHADOWS[1]]


def test_what_could_not_be_trained_at_once_is_not_tried_again() -> None:
    stacks = Stacks(9, none)
    stacks.divide(SHADOWS[0])
    assert stacks.join(SHADOWS[1], SHADOWS) == [SHADOWS[1]]
    other = [replace(shadow, architecture=Named("allcnn", 1)) for shadow in SHADOWS]
    assert stacks.join(other[0], other) == other


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The root of one study for one shadow at once, and for three."""
    found = {}
    for together in (1, 3):
        folder = tmp_path_factory.mktemp(f"together{together}")
        farm = f"{{shadows: 4, shadows_per_worker: {together}, pools: {{clean: {{size: 40}}}}}}"
        plan = tiny_farm.plan_of(
            folder, methods=["finetune"], farm=farm, recipe="{epochs: 2}", measures="[accuracy, ulira]"
        )
        tiny_farm.run(plan, folder / "root")
        found[together] = folder / "root"
    return found


def test_how_shadows_are_trained_changes_no_id_and_nothing_but_the_last_bits(roots: dict[int, Path]) -> None:
    alone, at_once = (tiny_study.tables(roots[together]) for together in (1, 3))
    for name, rows in alone.items():
        of_weights = [one for one in ("model", "together") if one in rows.columns]
        wanted, found = (frame.drop(of_weights) for frame in (rows, at_once[name]))
        assert_frame_equal(found, wanted, abs_tol=2e-3, rel_tol=1e-3)
    shadows = pl.col("kind") == "shadow"
    together = [sorted(rows["units"].filter(shadows)["together"]) for rows in (alone, at_once)]
    assert together == [[1] * 4, [1, 3, 3, 3]]
    assert set(at_once["units"].filter(~shadows)["together"]) == {1}
    assert not alone["signals"].equals(at_once["signals"]), "they were really trained in another way"


def test_what_was_trained_together_is_reproduced_alone_within_a_tolerance(roots: dict[int, Path]) -> None:
    store = Store.open(str(roots[3]))
    rows = store.scan("units").filter((pl.col("kind") == "shadow") & (pl.col("together") == 3)).collect()
    found, units = repro.find(store, rows["unit"][0])
    again = repro.reproduce(found, units, store, pick_device("cpu"))
    assert again.same
    assert again.tolerance == repro.TOLERANCE["cuda"]


def test_a_study_may_say_how_many(tmp_path: Path) -> None:
    registry.load()
    plans = [
        tiny_study.plan_of(tmp_path, farm={**tiny_study.TINY["farm"], **more})
        for more in ({}, {"shadows_per_worker": 8})
    ]
    assert plans[0].id == plans[1].id == tiny_study.GOLDEN
    farms = [plan.study.farm for plan in plans]
    assert [farm.shadows_per_worker for farm in farms if farm is not None] == [1, 8]


@pytest.mark.parametrize(("more", "why"), [({"deterministic": True}, "last bits"), ({}, "greater than or equal to 1")])
def test_a_number_that_cannot_be(tmp_path: Path, more: dict[str, bool], why: str) -> None:
    farm = {**tiny_study.TINY["farm"], "shadows_per_worker": 2 if more else 0}
    with pytest.raises(InvalidFile, match=f"farm.shadows_per_worker: .*{why}"):
        tiny_study.plan_of(tmp_path, farm=farm, **more)
