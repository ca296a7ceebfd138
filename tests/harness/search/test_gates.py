"""Gates: nothing that a search determines begins before its trials have ended, and nothing waits for ever."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.origin import Chosen, Suggested
from harness.planner import Plan
from harness.schedule.backlog import Backlog, Stage
from harness.search.stream import stream_of, streams_of
from harness.selection import Selection
from harness.unit import Kind, Unit

searches = st.fixed_dictionaries(
    {
        "trials": st.integers(1, 7),
        "sampler": st.sampled_from(["nsga3", "random"]),
        "seeds": st.integers(1, 2),
        "select": st.sampled_from(["reference", "mean"]),
        "population": st.integers(2, 4),
    }
)


def plan_of(tmp_path_factory: pytest.TempPathFactory, search: dict[str, Any], **changes: Any) -> Plan:
    folder = tmp_path_factory.getbasetemp()
    study = tiny_study.PLAIN | {"seeds": 2, "search": search, "measures": ["accuracy", "run_time"]}
    return tiny_study.plan_of(folder, study | changes)


def determining(plan: Plan, unit: Unit) -> set[str]:
    """Return every unit whose result a unit's hyperparameters depend on, straight from what a search is."""
    if isinstance(unit.origin, Suggested):
        last, streams = unit.origin.generation - 1, {stream_of(unit)}
    elif isinstance(unit.origin, Chosen):
        last, streams = 10**9, set(streams_of(unit))
    else:
        return set()
    found = {
        other.id
        for other in plan.units.values()
        if isinstance(other.origin, Suggested) and stream_of(other) in streams and other.origin.generation <= last
    }
    seeds = {seed for stream in streams for seed in stream.seeds} if found else set()
    return found | {other.id for other in plan.units.values() if other.kind == Kind.RETRAIN and other.seed in seeds}


@settings(max_examples=25)
@given(search=searches, data=st.data())
def test_what_a_search_determines_begins_after_its_trials_whatever_becomes_of_them(
    tmp_path_factory: pytest.TempPathFactory, search: dict[str, Any], data: st.DataObject
) -> None:
    plan = plan_of(tmp_path_factory, search)
    backlog, ended, failed = Backlog(list(plan.units.values()), {}), set[str](), set[str]()
    for stage in Stage:
        live: list[Unit] = []
        while backlog.ready(stage) or live:
            if backlog.ready(stage) and (not live or data.draw(st.booleans())):
                suggestion = backlog.take(stage)
                assert suggestion is not None
                assert determining(plan, suggestion.unit) <= ended
                live.append(suggestion.unit)
                continue
            unit = live.pop(data.draw(st.integers(0, len(live) - 1)))
            ended.add(unit.id)
            if unit.kind == Kind.SEARCH and data.draw(st.booleans()):
                failed.add(unit.id)
                backlog.failed(unit.id)
            else:
                backlog.finished(unit.id)
    assert ended == set(plan.units), "a failed trial keeps nothing waiting"


@given(search=searches)
@settings(max_examples=10)
def test_the_order_of_the_plan_serves_one_process(
    tmp_path_factory: pytest.TempPathFactory, search: dict[str, Any]
) -> None:
    plan, seen = plan_of(tmp_path_factory, search), set[str]()
    for unit in plan.units.values():
        assert determining(plan, unit) <= seen
        seen.add(unit.id)


@pytest.mark.parametrize("select", ["reference", "mean"])
def test_a_search_whose_retrain_failed_decides_nothing(tmp_path_factory: pytest.TempPathFactory, select: str) -> None:
    plan = plan_of(tmp_path_factory, {"trials": 2, "sampler": "random", "seeds": 2, "select": select})
    backlog, begun = Backlog(list(plan.units.values()), {}), set[str]()
    while (suggestion := backlog.take(Stage.TOGETHER)) is not None:
        unit = suggestion.unit
        begun.add(unit.id)
        if unit.kind == Kind.RETRAIN and unit.seed == 1:
            backlog.failed(unit.id)
        else:
            backlog.finished(unit.id)
    waiting = [unit for unit in plan.units.values() if unit.id not in begun and unit.kind != Kind.TIMING]
    assert {unit.kind for unit in waiting} == {Kind.UNLEARN}
    assert {unit.method.name for unit in waiting} == {"finetune", "ct"}


def test_whoever_asks_for_a_trial_gets_all_that_chooses_its_hyperparameters(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plan = plan_of(tmp_path_factory, {"trials": 3, "sampler": "nsga3", "seeds": 2, "population": 2})
    chosen = Selection(where={"kind": "unlearn", "method": "ct", "seed": "1"})
    units = chosen.choose(plan, list(plan.units.values()))
    kinds = [unit.kind for unit in units]
    assert kinds.count(Kind.SEARCH) == 6
    assert kinds.count(Kind.RETRAIN) == kinds.count(Kind.ORIGINAL) == 2
    assert kinds.count(Kind.UNLEARN) == 1
    assert {unit.method.name for unit in units if unit.kind == Kind.SEARCH} == {"ct"}
