"""The order in which a farm is gone through: shadows stay warm, nobody idles, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.planner import make_plan
from harness.process.deaths import MOST_TRIES
from harness.schedule.bundles import Bundles
from harness.schedule.demand import Demand
from harness.schedule.packing import Packing
from harness.study import load_study
from harness.unit import Kind, Unit

STUDY = """
name: farm
datasets: [digits]
architectures: [cnn_small]
scenarios: ["random:0.1"]
methods: [finetune, ct]
farm: {shadows: 6, retrains: 2, pools: {clean: {size: 20}, canary: {size: 20, labels: random}}}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    file = tmp_path_factory.mktemp("study") / "farm.yaml"
    file.write_text(STUDY)
    return [unit for unit in make_plan(load_study(file)).units.values() if unit.kind.of_farm]


def alone(bundles: Bundles) -> Iterator[tuple[str, Unit]]:
    """One worker that succeeds at everything."""
    own = None
    while (found := bundles.take(own)) is not None:
        own, suggestion = found
        yield own, suggestion.unit
        bundles.finished(suggestion.unit.id)


def test_one_worker_goes_through_a_shadow_before_the_next(farm: list[Unit]) -> None:
    taken = list(alone(Bundles(farm, {})))
    assert sorted(unit.id for _, unit in taken) == sorted(unit.id for unit in farm)
    order = [bundle for bundle, _ in taken]
    assert sum(one != two for one, two in pairwise(order)) == len(set(order)) - 1
    done: set[str] = set()
    for _, unit in taken:
        assert done.issuperset(unit.needs)
        done.add(unit.id)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), workers=st.integers(1, 5))
def test_whatever_dies_every_unit_ends_or_had_all_its_tries(
    farm: list[Unit], data: st.DataObject, workers: int
) -> None:
    bundles = Bundles(farm, {})
    running: list[tuple[str, Unit]] = []
    own: list[str | None] = [None]
    tries: dict[str, int] = {}
    done: set[str] = set()
    lost: set[str] = set()
    while True:
        while len(running) < workers and (found := bundles.take(own.pop() if own else None)) is not None:
            bundle, suggestion = found
            assert done.issuperset(suggestion.unit.needs), "nothing begins before its shadow is trained"
            assert suggestion.unit.id not in done | {unit.id for _, unit in running}, "nothing runs twice"
            tries[suggestion.unit.id] = suggestion.number
            assert suggestion.attempt == suggestion.number
            running.append((bundle, suggestion.unit))
        if not running:
            break
        bundle, unit = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if data.draw(st.integers(0, 9)) > 0:
            bundles.finished(unit.id)
            done.add(unit.id)
            own.append(bundle)
        elif not bundles.again(unit.id):
            lost.add(unit.id)
    assert all(tries[unit] == MOST_TRIES for unit in lost)
    for unit in farm:
        assert unit.id in done | lost or lost.intersection(unit.needs)


def test_an_idle_worker_helps_with_the_longest_trained_bundle(farm: list[Unit]) -> None:
    shadow = next(unit for unit in farm if unit.kind == Kind.SHADOW)
    units = [unit for unit in farm if unit is shadow or shadow.id in unit.needs]
    bundles = Bundles(units, {})
    assert bundles.take(None) is not None
    assert bundles.take(None) is None, "all else waits for the shadow"
    bundles.finished(shadow.id)
    first, second = bundles.take(shadow.id), bundles.take(None)
    assert first is not None
    assert second is not None
    assert {first[0], second[0]} == {shadow.id}
    assert first[1].unit != second[1].unit


def test_a_shadow_that_was_trained_before_is_not_waited_for(farm: list[Unit]) -> None:
    left = [unit for unit in farm if unit.kind == Kind.SHADOW_UNLEARN]
    assert len(list(alone(Bundles(left, {})))) == len(left)


def test_attempts_go_on_from_the_store(farm: list[Unit]) -> None:
    found = Bundles(farm, {farm[0].id: 4}).take(None)
    assert found is not None
    assert (found[1].attempt, found[1].number) == (5, 1)


def test_a_worker_takes_its_share_of_the_shadows_that_wait(farm: list[Unit]) -> None:
    def taken(together: int, places: int) -> int:
        bundles = Bundles(farm, {}, packing=Packing(Demand(1.0), together=together))
        found = bundles.take(None)
        assert found is not None
        joined = bundles.join(found[1], places)
        assert all(one.unit.kind == Kind.SHADOW and (one.attempt, one.number) == (1, 1) for one in joined)
        return len({one.unit.id for one in joined})

    assert [taken(together, places) for together, places in ((1, 1), (4, 1), (9, 1), (9, 2), (9, 4), (4, 6))] == [
        1,
        4,
        6,
        3,
        2,
        1,
    ]


def test_what_was_trained_at_once_is_left_to_whoever_is_idle(farm: list[Unit]) -> None:
    bundles = Bundles(farm, {}, packing=Packing(Demand(1.0), together=6))
    own, first = bundles.take(None) or pytest.fail("nothing to take")
    shadows = [one.unit.id for one in bundles.join(first, 1)]
    others, _ = bundles.take(None) or pytest.fail("nothing to take")
    assert others not in shadows, "retrains wait for nothing"
    for shadow in shadows:
        bundles.finished(shadow)
    mine, theirs = bundles.take(own), bundles.take(None)
    assert mine is not None
    assert theirs is not None
    assert mine[0] == own == shadows[0]
    assert theirs[0] != own
    assert sorted([mine[1].unit.id, theirs[1].unit.id, *(unit.id for _, unit in alone(bundles))]) == sorted(
        unit.id for unit in farm if unit.id not in {*shadows, others}
    )


@pytest.mark.parametrize("for_good", [True, False])
def test_shadows_that_were_not_trained_at_once_go_one_by_one(farm: list[Unit], for_good: bool) -> None:
    bundles = Bundles(farm, {}, packing=Packing(Demand(1.0), together=3))
    _, first = bundles.take(None) or pytest.fail("nothing to take")
    joined = bundles.join(first, 1)
    assert len(joined) == 3
    bundles.divide(joined, for_good=for_good)
    sizes: dict[str, int] = {}
    while (found := bundles.take(None)) is not None:
        together = bundles.join(found[1], 1)
        for one in together:
            assert (one.attempt, one.number) == (1, 1), "it had no attempt of its own"
            assert one.unit.id not in sizes, "nothing runs twice"
            sizes[one.unit.id] = len(together)
            bundles.finished(one.unit.id)
    assert sizes.keys() == {unit.id for unit in farm}
    assert all(sizes[one.unit.id] == 1 for one in joined)
    others = [unit.id for unit in farm if unit.kind == Kind.SHADOW and unit.id not in {one.unit.id for one in joined}]
    assert [sizes[unit] for unit in others] == ([1] * 3 if for_good else [3] * 3)
