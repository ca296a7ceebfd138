"""How long a study takes on so many workers: by hand, against a slow simulation, and within bounds that always hold."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from hypothesis import given
from hypothesis import strategies as st

from harness.planner import Plan, stage
from harness.pricing.makespan import Stages, Tasks, list_schedule, longest_chain
from harness.schedule.backlog import Backlog, Stage
from harness.unit import Unit

MANY = 10_000


def tasks_of(seconds: list[float | None], needs: Mapping[int, list[int]], rank: list[int] | None = None) -> Tasks:
    """Return tasks that wait for others, in the order of their numbers unless they have a rank."""
    tasks = Tasks(seconds, rank or list(range(len(seconds))))
    for task, before in needs.items():
        for need in before:
            tasks.after(task, need)
    return tasks


@pytest.mark.parametrize(("workers", "expected"), [(1, 14), (2, 8), (3, 8), (MANY, 8)])
def test_a_small_graph_by_hand(workers: int, expected: float) -> None:
    # Two workers: a 0-3 then e 3-8, and beside them b 0-1, c 1-2, d 2-4, f 4-6.
    a, d = 0, 3
    assert list_schedule(tasks_of([3, 1, 1, 2, 5, 2], {4: [a], 5: [d]}), workers) == expected


def test_what_could_begin_at_once_begins_by_its_rank() -> None:
    seconds: list[float | None] = [1, 1, 1, 1, 4]
    assert list_schedule(tasks_of(seconds, {}), 2) == 6
    assert list_schedule(tasks_of(seconds, {}, [1, 2, 3, 4, 0]), 2) == 4


def test_what_only_waits_takes_no_worker() -> None:
    assert list_schedule(tasks_of([2, 3, None, 4], {2: [0, 1], 3: [2]}), 2) == 3 + 4
    assert list_schedule(tasks_of([None, None], {1: [0]}), 1) == 0


@st.composite
def graphs(draw: st.DrawFn, least: int = 0) -> Tasks:
    """Tasks in an order in which each comes after its needs; some only wait."""
    count = draw(st.integers(1, 25))
    seconds = draw(st.lists(st.none() | st.integers(least, 9).map(float), min_size=count, max_size=count))
    rank = draw(st.permutations(range(count)))
    needs = {task: draw(st.lists(st.integers(0, task - 1), max_size=3, unique=True)) for task in range(1, count)}
    return tasks_of(seconds, needs, list(rank))


@given(tasks=graphs(), workers=st.integers(1, 6))
def test_it_lies_between_the_bounds_that_always_hold(tasks: Tasks, workers: int) -> None:
    work, chain = sum(seconds or 0.0 for seconds in tasks.seconds), longest_chain(tasks)
    found = list_schedule(tasks, workers)
    assert max(chain, work / workers) <= found + 1e-9
    assert found <= work / workers + chain * (1 - 1 / workers) + 1e-9  # Graham 1966
    assert list_schedule(tasks, 1) == pytest.approx(work)
    assert list_schedule(tasks, MANY) == pytest.approx(chain)


@given(tasks=graphs(least=1), workers=st.integers(1, 6))
def test_it_is_what_a_simulation_second_by_second_finds(tasks: Tasks, workers: int) -> None:
    assert list_schedule(tasks, workers) == slow_schedule(tasks, workers)


def slow_schedule(tasks: Tasks, workers: int) -> float:
    """Look at every task at every second; seconds are whole numbers."""
    needs: list[set[int]] = [set() for _ in tasks.seconds]
    for need, waiting in enumerate(tasks.waiting):
        for task in waiting:
            needs[task].add(need)
    end: dict[int, float] = {}
    now = 0.0
    while True:
        while True:
            done = {task for task, at in end.items() if at <= now}
            ready = [task for task in range(len(needs)) if task not in end and needs[task] <= done]
            free = workers - sum(at > now for at in end.values())
            waits = [task for task in ready if tasks.seconds[task] is None]
            works = sorted((task for task in ready if tasks.seconds[task] is not None), key=tasks.rank.__getitem__)
            chosen = waits or works[: min(free, 1)]
            if not chosen:
                break
            for task in chosen:
                end[task] = now + (tasks.seconds[task] or 0.0)
        if len(end) == len(needs):
            return max(end.values())
        now += 1


COSTS = {"original": 10.0, "retrain": 20.0, "unlearn": 3.0, "search": 1.0, "timing": 4.0}
COSTS |= {"shadow": 7.0, "shadow_retrain": 2.0, "shadow_unlearn": 1.0}


def stages_of(plan: Plan, **other: float) -> Stages:
    """Return the stages of a plan by stated costs."""
    units = list(plan.units.values())
    return Stages(units, {unit.id: (COSTS | other)[unit.kind.value] for unit in units})


def test_stages_follow_each_other_and_timing_runs_one_at_a_time(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, seeds=1)
    count = plan.counts()
    found = stages_of(plan).on(MANY)
    # Original and three trials beside the retrain; a shadow and what is done to it; three timed.
    assert (found.seconds, found.chain, found.timing) == (20 + 8 + 3 * 4, 20 + 8, 3 * 4)
    assert found.per_unit == pytest.approx(28 / (len(plan.units) - 3))
    assert found.limit == "needs"
    alone = stages_of(plan).on(1)
    assert alone.seconds == sum(COSTS[kind] * number for kind, number in count.items())
    assert (alone.limit, alone.work) == ("work", alone.seconds - alone.timing)
    assert stages_of(plan, timing=40.0).on(MANY).limit == "timing"
    tiny = {name: seconds / 1e4 for name, seconds in COSTS.items()}
    assert stages_of(plan, **tiny).on(MANY).limit == "driver"


@pytest.mark.parametrize(
    ("search", "many"),
    [
        ({"trials": 6, "sampler": "random", "seeds": 1}, 20 + 3),  # all at 10, chosen once they and the retrain ended
        ({"trials": 6, "sampler": "nsga3", "population": 2, "seeds": 1}, 20 + 1 + 1 + 3),  # generations 1 and 2
    ],
)
def test_generations_wait_for_those_before_and_for_the_retrain(
    tmp_path: Path, search: dict[str, Any], many: float
) -> None:
    plan = tiny_study.plan_of(tmp_path, tiny_study.PLAIN, methods=["finetune"], search=search)
    assert plan.counts() == {"original": 1, "retrain": 1, "search": 6, "unlearn": 2}
    assert stages_of(plan).on(MANY).seconds == many
    assert stages_of(plan).on(1).seconds == 10 + 20 + 6 + 6


def test_what_is_done_holds_nothing_back(tmp_path: Path) -> None:
    search = {"trials": 6, "sampler": "nsga3", "population": 2, "seeds": 1}
    plan = tiny_study.plan_of(tmp_path, tiny_study.PLAIN, methods=["finetune"], search=search)
    left = [unit for unit in plan.units.values() if unit.kind.value not in ("original", "retrain")]
    stages = Stages(left, {unit.id: COSTS[unit.kind.value] for unit in left})
    assert stages.on(MANY).seconds == 1 + 1 + 1 + 3
    nothing = Stages([], {}).on(8)
    assert (nothing.seconds, nothing.per_unit) == (0, None)


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
def test_trials_take_as_long_as_the_real_backlog_keeps_so_many_workers_busy(tmp_path: Path, workers: int) -> None:
    plan = tiny_study.plan_of(
        tmp_path,
        tiny_study.PLAIN,
        methods=["finetune", "ct", "msg"],
        datasets=["digits", "digits@1000"],
        measures=["accuracy", "anamnesis", "mia_trio"],
        seeds=3,
        search={"trials": 8, "sampler": "nsga3", "population": 3, "seeds": 2},
    )
    units = [unit for unit in plan.units.values() if stage(unit.kind) == 0]
    rng = random.Random(workers)
    seconds = {unit.id: rng.uniform(1, 20) for unit in units}
    assert Stages(units, seconds).on(workers).seconds == pytest.approx(played(units, seconds, workers))


def played(units: list[Unit], seconds: Mapping[str, float], workers: int) -> float:
    """Play a run of the scheduler's own backlog, in which each unit takes its seconds."""
    backlog, now = Backlog(units, {}), 0.0
    running: list[tuple[float, str]] = []
    while True:
        while len(running) < workers and (suggestion := backlog.take(Stage.TOGETHER)):
            heapq.heappush(running, (now + seconds[suggestion.unit.id], suggestion.unit.id))
        if not running:
            return now
        now, unit = heapq.heappop(running)
        backlog.finished(unit)
