"""Run units one after the other in this process: for a laptop, a breakpoint, or a machine without Ray."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from harness.budget import Budget
from harness.deaths import commit_death
from harness.engine.device import describe
from harness.interrupt import draining
from harness.search.gates import Gates
from harness.unit import KeepModels, Unit
from harness.watch import Watch, watch
from harness.work import Workbench, perform
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
) -> None:
    """Perform the units in order; `attempts` are the failed attempts so far by unit id.

    A unit whose need failed is not tried: it stays to be run. `report` is told of each unit as it ends. `resolve` fills
    in the hyperparameters of a unit that a search determines, once its trials have ended. No unit begins once the
    `budget` is used up. Raises KeyboardInterrupt after a Ctrl-C or another signal to end, once everything finished is
    committed.

    Under a supervisor (`harness.supervisor`) a unit may end this process, and still the next one goes on behind it:
    the unit is tried again, at most three times in all, unless it took too long. Elsewhere a method that holds Python's
    lock for ever cannot be ended.
    """
    lost: set[str] = set()
    gates = Gates(units)
    own = watch()
    attempts = {**attempts, **_bury(own, units, bench)}
    budget = budget or Budget()
    with draining() as state:
        for unit in units:
            state.stop_if_asked()
            if budget.is_used_up:
                break
            if lost.intersection(unit.comes_after) or gates.closed_before(unit.id):
                lost.add(unit.id)
                continue
            status: Status = "failed"
            seconds = own.known.failed.get(unit.id)
            if seconds is None:
                own.renew(bench.spoiled)
                begun, attempt = time.perf_counter(), attempts.get(unit.id, 0) + 1
                with own.over(unit.id, attempt, time_limit):
                    status = perform(resolve(unit), bench, attempt, keep_models, _limited(time_limit), show=True)
                seconds = time.perf_counter() - begun
            budget.spend(seconds)
            if status == "failed":
                lost.add(unit.id)
            gates.ended(unit.id, done=status != "failed")
            report(unit, status, seconds)
            if status == "failed":
                own.failed(unit.id, seconds)
        state.stop_if_asked()


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
