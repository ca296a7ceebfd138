"""Run units one after the other in this process: for a laptop, a breakpoint, or a machine without Ray."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from harness.engine.device import describe
from harness.pricing.budget import Budget
from harness.process.interrupt import draining
from harness.process.watch import Watch, watch
from harness.search.gates import Gates
from harness.stacks import Stacks
from harness.unit import KeepModels, Kind, Unit
from harness.work import Workbench, perform, perform_together
from harness.work.died import commit_death
from harness.work.unit import Status


class TimeLimit(BaseException):
    """A unit took longer than its limit; a method that takes every `Exception` does not take this."""


AGAIN_SECONDS = 1.0
"""After which a method that took it all the same is told again."""

Report = Callable[[Unit, Status, float], None]
"""Told of each unit as it ends: its status, and its seconds."""


def run_units(
    units: Sequence[Unit],
    bench: Workbench,
    attempts: Mapping[str, int],
    *,
    time_limit: float,
    keep_models: KeepModels,
    report: Report,
    resolve: Callable[[Unit], Unit] = lambda unit: unit,
    budget: Budget | None = None,
    shadows_per_worker: int = 1,
) -> None:
    """Perform the units in order; `attempts` are the failed attempts so far by unit id.

    A unit whose need failed is not tried: it stays to be run. `report` is told of each unit as it ends. `resolve` fills
    in the hyperparameters of a unit that a search determines, once its trials have ended. No unit begins once the
    `budget` is used up. `shadows_per_worker` shadows are trained at once, those that come later with the first. Raises
    KeyboardInterrupt after a Ctrl-C or another signal to end, once everything finished is committed.

    Under a supervisor (`harness.process.supervisor`) a unit may end this process, and still the next one goes on behind
    it: the unit is tried again, at most three times in all, unless it took too long. Elsewhere a method that holds
    Python's lock for ever cannot be ended.
    """
    budget = budget or Budget()

    def spend_and_report(unit: Unit, status: Status, seconds: float) -> None:
        budget.spend(seconds)
        report(unit, status, seconds)

    loop = _Loop(units, bench, attempts, time_limit, keep_models, spend_and_report, resolve, shadows_per_worker)
    with draining() as state:
        for unit in units:
            state.stop_if_asked()
            if budget.is_used_up:
                break
            loop.go_on_with(unit)
        state.stop_if_asked()


class _Loop:
    """What has ended of the units so far, and what is lost with those that failed."""

    def __init__(
        self,
        units: Sequence[Unit],
        bench: Workbench,
        attempts: Mapping[str, int],
        time_limit: float,
        keep_models: KeepModels,
        report: Report,
        resolve: Callable[[Unit], Unit],
        shadows_per_worker: int,
    ) -> None:
        self._bench, self._time_limit, self._keep_models = bench, time_limit, keep_models
        self._report, self._resolve = report, resolve
        self._gates, self._own = Gates(units), watch()
        self._ended: set[str] = set()
        self._lost: set[str] = set()
        self._attempts = Counter({**attempts, **_bury(self._own, units, bench)})
        self._shadows = [unit for unit in units if unit.kind == Kind.SHADOW]
        self._stacks = Stacks(shadows_per_worker, self._begun)

    def go_on_with(self, unit: Unit) -> None:
        """Perform a unit, and shadows that go with it; unless it has ended with others, or what it needs is lost."""
        if unit.id in self._ended:
            return
        if self._lost.intersection(unit.comes_after) or self._gates.closed_before(unit.id):
            self._lost.add(unit.id)
        elif unit.id in self._own.known.failed:
            self._end(unit, "failed", self._own.known.failed[unit.id])
        else:
            self._own.renew(self._bench.spoiled)
            together = self._stacks.join(unit, self._shadows)
            if len(together) == 1 or not self._at_once(together):
                self._alone(unit)

    def _begun(self, unit: str) -> bool:
        return unit in self._ended or self._attempts[unit] > 0 or unit in self._own.known.failed

    def _alone(self, unit: Unit) -> None:
        begun, attempt = time.perf_counter(), self._attempts[unit.id] + 1
        limit, keep = _limited(self._time_limit), self._keep_models
        with self._own.over(unit.id, attempt, self._time_limit):
            status = perform(self._resolve(unit), self._bench, attempt, keep, limit, show=True)
        self._end(unit, status, time.perf_counter() - begun)

    def _at_once(self, shadows: list[Unit]) -> bool:
        """Whether shadows could be trained at once; the first answers for them if they end the process."""
        begun, limit = time.perf_counter(), self._time_limit * len(shadows)
        with self._own.over(shadows[0].id, 1, limit):
            statuses = perform_together(
                shadows, self._bench, [1] * len(shadows), self._keep_models, _limited(limit), show=True
            )
        if statuses is None:
            self._stacks.divide(shadows[0])
            return False
        seconds = (time.perf_counter() - begun) / len(shadows)
        for unit, status in zip(shadows, statuses, strict=True):
            self._end(unit, status, seconds)
        return True

    def _end(self, unit: Unit, status: Status, seconds: float) -> None:
        failed = status == "failed"
        self._ended.add(unit.id)
        if failed:
            self._lost.add(unit.id)
        self._gates.ended(unit.id, done=not failed)
        self._report(unit, status, seconds)
        if failed:
            self._own.failed(unit.id, seconds)


def _bury(own: Watch, units: Sequence[Unit], bench: Workbench) -> dict[str, int]:
    """Commit the attempts that ended the processes before this one; return the number of the last one by unit."""
    left = {unit.id: unit for unit in units}
    for one in own.known.fallen:
        if unit := left.get(one.unit):  # else it was committed, before the end
            device = describe(bench.device)
            commit_death(bench.store, unit, one.attempt, one.death, device=device, share=1.0, started=one.started)
    own.settled()
    return {one.unit: one.attempt for one in own.known.fallen}


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TimeLimit` inside after so many seconds. Works in the main thread; elsewhere there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"the unit took more than its limit of {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
