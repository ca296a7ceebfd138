"""The backlog: needs first, three tries, no unit lost, workers warm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import Recipe
from harness.process.deaths import MOST_TRIES
from harness.schedule.backlog import Backlog, Stage, Suggestion
from harness.schedule.demand import Demand
from harness.unit import DatasetRef, Kind, Named, Unit


def _unit(number: int, needs: tuple[str, ...] = (), kind: Kind = Kind.UNLEARN, dataset: str = "digits") -> Unit:
    return Unit(
        kind=kind,
        dataset=DatasetRef(dataset, 1, "0"),
        scenario=Named("random:0.1", 1),
        architecture=Named("cnn_small", 1),
        method=Named("finetune", 1),
        recipe=Recipe(),
        seed=number,
        needs=needs,
    )


@st.composite
def _plans(draw: st.DrawFn) -> list[Unit]:
    """Units in an order in which each comes after its needs."""
    units: list[Unit] = []
    for number in range(draw(st.integers(1, 12))):
        needs = draw(st.lists(st.sampled_from(units), max_size=3, unique_by=lambda u: u.id)) if units else []
        kind = draw(st.sampled_from([Kind.ORIGINAL, Kind.UNLEARN, Kind.TIMING]))
        if any(need.kind == Kind.TIMING for need in needs):  # a stage needs none that comes after it
            kind = Kind.TIMING
        dataset = draw(st.sampled_from(["digits", "svhn"]))
        units.append(_unit(number, tuple(need.id for need in needs), kind, dataset))
    return units


@given(plan=_plans(), data=st.data())
def test_whatever_happens_every_unit_is_settled_and_none_begins_before_its_needs(
    plan: list[Unit], data: st.DataObject
) -> None:
    backlog, begun = Backlog(plan, {unit.id: 4 for unit in plan}), Counter[str]()
    done: set[str] = set()
    failed: set[str] = set()
    for stage in Stage:
        live: list[Suggestion] = []
        while backlog.ready(stage) or live:
            if backlog.ready(stage) and (not live or data.draw(st.booleans())):
                suggestion = backlog.take(stage)
                assert suggestion is not None
                begun[suggestion.unit.id] += 1
                assert set(suggestion.unit.needs) <= done
                assert (suggestion.unit.kind == Kind.TIMING) == (stage == Stage.ALONE)
                assert suggestion.number == begun[suggestion.unit.id]
                assert suggestion.attempt == 4 + suggestion.number
                live.append(suggestion)
                continue
            ended = live.pop(data.draw(st.integers(0, len(live) - 1))).unit.id
            outcome = data.draw(st.sampled_from(["done", "failed", "died"]))
            if outcome == "done":
                backlog.finished(ended)
                done.add(ended)
            elif outcome == "failed" or not backlog.again(ended):
                failed.add(ended)
    for unit in plan:
        tried = unit.id in done | failed
        assert tried == (set(unit.needs) <= done)
        assert begun[unit.id] <= MOST_TRIES
        assert bool(begun[unit.id]) == tried
    assert not done & failed


def test_a_unit_that_died_three_times_is_not_put_back() -> None:
    unit = _unit(0)
    backlog = Backlog([unit], {})
    again = [(backlog.take(Stage.TOGETHER), backlog.again(unit.id))[1] for _ in range(MOST_TRIES)]
    assert again == [True, True, False]
    assert not backlog.ready(Stage.TOGETHER)


def test_a_need_outside_of_the_units_is_met() -> None:
    backlog = Backlog([_unit(0, needs=("0" * 20,))], {})
    assert backlog.ready(Stage.TOGETHER)


def test_workers_stay_warm_and_none_waits_for_an_original() -> None:
    """One data set after the other; in each, originals come first, then the trials of one after the other."""
    plan = []
    for dataset in ("digits", "svhn"):
        for seed in range(3):
            original = _unit(seed, kind=Kind.ORIGINAL, dataset=dataset)
            trials = (_unit(10 * seed + i, (original.id,), dataset=dataset) for i in range(4))
            plan += [original, *trials]
    backlog, order = Backlog(plan, {}), []
    while (suggestion := backlog.take(Stage.TOGETHER)) is not None:
        order.append(suggestion.unit)
        backlog.finished(suggestion.unit.id)
    assert [key for key, _ in groupby((unit.dataset.name, bool(unit.needs)) for unit in order)] == [
        ("digits", False),
        ("digits", True),
        ("svhn", False),
        ("svhn", True),
    ]
    needs = [need for need, _ in groupby(unit.needs for unit in order if unit.needs)]
    assert len(needs) == len(set(needs)) == 6


def test_each_trial_is_relearned_before_the_next_one_begins() -> None:
    """Its weights are then there for as long as one unit takes, and not until all trials have ended."""
    original = _unit(0, kind=Kind.ORIGINAL)
    plan = [original]
    for number in range(1, 5):
        trial = _unit(number, (original.id,))
        plan += [trial, _unit(number, (trial.id, original.id), Kind.RELEARN)]
    late = _unit(9, kind=Kind.ORIGINAL)
    backlog, order = Backlog([*plan, late], {}), []
    while (suggestion := backlog.take(Stage.TOGETHER)) is not None:
        order.append(suggestion.unit)
        backlog.finished(suggestion.unit.id)
    assert order == [original, late, *plan[1:]]


@pytest.mark.parametrize("stage", Stage)
def test_an_empty_backlog_has_nothing(stage: Stage) -> None:
    assert Backlog([], {}).take(stage) is None


def test_tries_of_another_run_do_not_count() -> None:
    unit = replace(_unit(0), seed=5)
    suggestion = Backlog([unit], {unit.id: 7}).take(Stage.TOGETHER)
    assert suggestion == Suggestion(unit, attempt=8, number=1, demand=Demand(1))
