"""Run units one after the other in this process: for a laptop, a breakpoint, or a machine without Ray."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from harness.interrupt import draining
from harness.search.gates import Gates
from harness.unit import KeepModels, Unit
from harness.work import Workbench, perform
from harness.work.unit import Status


class TimeLimit(Exception):
    """A unit took longer than its limit."""


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
) -> None:
    """Perform the units in order; `attempts` are the failed attempts so far by unit id.

    A unit whose need failed is not tried: it stays to be run. `report` is told of each unit as it ends. `resolve` fills
    in the hyperparameters of a unit that a search determines, once its trials have ended. Raises KeyboardInterrupt
    after a Ctrl-C, once everything finished is committed.
    """
    lost: set[str] = set()
    gates = Gates(units)
    with draining() as state:
        for unit in units:
            if state.asked:
                raise KeyboardInterrupt
            if lost.intersection(unit.comes_after) or gates.closed_before(unit.id):
                lost.add(unit.id)
                continue
            begun = time.perf_counter()
            limit = _limited(time_limit)
            status = perform(resolve(unit), bench, attempts.get(unit.id, 0) + 1, keep_models, limit)
            if status == "failed":
                lost.add(unit.id)
            gates.ended(unit.id, done=status != "failed")
            report(unit, status, time.perf_counter() - begun)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TimeLimit` inside after so many seconds. Works in the main thread; elsewhere there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(f"the unit took more than its limit of {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
