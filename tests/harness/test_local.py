"""One unit after the other: needs, attempts, the time limit and Ctrl-C. What a unit does is played by the tests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_study

from harness import local
from harness.local import TimeLimit, run_units
from harness.planner import Plan
from harness.pricing.budget import Budget
from harness.unit import Unit
from harness.work.unit import Status

BENCH: Any = SimpleNamespace(spoiled=[])
Play = Callable[[Unit], Status]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two originals, two retrains and six trials."""
    study = {**tiny_study.PLAIN, "seeds": 2}
    return tiny_study.plan_of(tmp_path_factory.mktemp("local"), study)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Every test leaves the handlers as it found them."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)] == before


class Stage:
    """Plays `harness.work.perform` and notes what is asked of it."""

    def __init__(self, plan: Plan, play: Play, monkeypatch: pytest.MonkeyPatch, time_limit: float = 1000) -> None:
        self.plan, self.time_limit = plan, time_limit
        self.attempts: dict[str, int] = {}
        self.ended: list[tuple[Unit, Status]] = []

        def perform(unit: Unit, bench: Any, attempt: int, keep_models: str, limit: Any, show: bool) -> Status:
            self.attempts[unit.id] = attempt
            with limit:
                return play(unit)

        monkeypatch.setattr(local, "perform", perform)

    def run(self, attempts: dict[str, int] | None = None, **options: Any) -> None:
        run_units(
            list(self.plan.units.values()),
            BENCH,
            attempts or {},
            time_limit=self.time_limit,
            keep_models="original",
            report=lambda unit, status, seconds: self.ended.append((unit, status)),
            **options,
        )


def test_units_run_in_order_and_continue_the_count_of_attempts(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = list(plan.units)
    stage = Stage(plan, lambda unit: "done", monkeypatch)
    stage.run({keys[2]: 4, "of another plan": 7})
    assert stage.attempts == dict.fromkeys(keys, 1) | {keys[2]: 5}
    assert stage.ended == [(unit, "done") for unit in plan.units.values()]


@pytest.mark.parametrize("status", ["done", "failed"])
def test_nothing_begins_once_the_budget_is_used_up(plan: Plan, status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 1800)  # half an hour from one look to the next: what a unit takes
    monkeypatch.setattr(local, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    stage, budget = Stage(plan, lambda unit: status, monkeypatch), Budget(0.9)
    stage.run(budget=budget)
    assert [ended for _, ended in stage.ended] == [status, status]
    assert budget.used == 1.0


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_only_what_needs_a_failed_unit_is_not_tried(
    plan: Plan, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(plan.units))
    stage = Stage(plan, lambda unit: status if unit.id == first else "done", monkeypatch)
    stage.run()
    lost = {unit.id for unit in plan.units.values() if first in unit.needs} if status == "failed" else set()
    assert set(stage.attempts) == set(plan.units) - lost
    assert len(lost) in (0, 3)


def test_a_unit_is_told_when_its_time_is_over(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def play(unit: Unit) -> Status:
        if unit.id != next(iter(plan.units)):
            return "done"
        try:
            while True:
                pass
        except TimeLimit as limit:
            told.append(str(limit))
            return "failed"

    Stage(plan, play, monkeypatch, time_limit=0.05).run()
    assert told == ["the unit took more than its limit of 0.05 s"]


def test_the_first_interrupt_finishes_the_unit_at_hand(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    second = list(plan.units)[1]

    def play(unit: Unit) -> Status:
        if unit.id == second:
            os.kill(os.getpid(), signal.SIGINT)
        return "done"

    stage = Stage(plan, play, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert [unit.id for unit, _ in stage.ended] == list(plan.units)[:2]


@pytest.mark.parametrize("again", [True, False], ids=["asked again", "waited long enough"])
def test_a_long_unit_is_broken_off(plan: Plan, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.process.interrupt.DRAIN_SECONDS", 1000.0 if again else 0.05)

    def play(unit: Unit) -> Status:
        os.kill(os.getpid(), signal.SIGINT)
        if again:
            os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass

    stage = Stage(plan, play, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert stage.ended == []


def test_an_interrupt_in_the_last_unit_keeps_it_and_interrupts_what_comes_after(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = list(plan.units)[-1]

    def play(unit: Unit) -> Status:
        if unit.id == last:
            os.kill(os.getpid(), signal.SIGINT)
        return "done"

    stage = Stage(plan, play, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert len(stage.ended) == len(plan.units)


def test_outside_the_main_thread_units_run_without_limit_and_handlers(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = Stage(plan, lambda unit: "done", monkeypatch, time_limit=1e-6)
    thread = threading.Thread(target=stage.run)
    thread.start()
    thread.join()
    assert len(stage.ended) == len(plan.units)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Four shadows, and what is done to them."""
    study = {**tiny_study.TINY, "seeds": 1, "measures": ["accuracy", "ulira"]}
    return tiny_study.plan_of(tmp_path_factory.mktemp("local"), study)


class Pairs(Stage):
    """Plays `harness.work.perform_together`, too; `works` says whether shadows can be trained at once."""

    def __init__(self, plan: Plan, monkeypatch: pytest.MonkeyPatch, *, works: bool) -> None:
        super().__init__(plan, lambda unit: "done", monkeypatch)
        self.together: list[list[str]] = []

        def perform_together(units: list[Unit], bench: Any, attempts: list[int], *more: Any, show: bool) -> Any:
            self.together.append([unit.id for unit in units])
            assert attempts == [1] * len(units)
            return ["done"] * len(units) if works else None

        monkeypatch.setattr(local, "perform_together", perform_together)

    def run(self, attempts: dict[str, int] | None = None, **options: Any) -> None:
        super().run(attempts, shadows_per_worker=2, **options)


def test_shadows_go_together_and_everything_ends_once(farm: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    shadows = [unit.id for unit in farm.units.values() if unit.kind == "shadow"]
    pairs = Pairs(farm, monkeypatch, works=True)
    pairs.run()
    assert pairs.together == [shadows[:2], shadows[2:]]
    assert sorted(unit.id for unit, _ in pairs.ended) == sorted(farm.units)
    assert not set(shadows).intersection(pairs.attempts), "none is trained again"


def test_a_shadow_that_has_failed_before_goes_by_itself(farm: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    shadows = [unit.id for unit in farm.units.values() if unit.kind == "shadow"]
    pairs = Pairs(farm, monkeypatch, works=True)
    pairs.run({shadows[1]: 1})
    assert pairs.together == [[shadows[0], shadows[2]]]
    assert pairs.attempts[shadows[1]] == 2
    assert sorted(unit.id for unit, _ in pairs.ended) == sorted(farm.units)


def test_shadows_that_cannot_be_trained_at_once_are_tried_so_once(farm: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs(farm, monkeypatch, works=False)
    pairs.run()
    assert len(pairs.together) == 1
    assert pairs.attempts == dict.fromkeys(farm.units, 1)
    assert [unit.id for unit, _ in pairs.ended] == list(farm.units)
