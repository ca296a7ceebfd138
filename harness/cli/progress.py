"""How a run goes: one live line on a terminal, one plain line every 30 seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TextIO

from harness.cli.terminal import silence
from harness.cli.text import duration
from harness.planner import Plan, stage
from harness.unit import Unit
from harness.watch import watch
from harness.work.unit import Status

EVERY_SECONDS = 30.0
LIVE_SECONDS = 0.1
STAGES = ("trials", "farm", "timing")

Cost = tuple[int, str, str]
"""What units of one cost have in common: stage, kind, method."""


class Live:
    """Tells a stream, stage by stage: units done, workers busy, failed, cached, and the time left by measured costs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self._spent: dict[Cost, float] = defaultdict(float)
        self._ended: Counter[Cost] = Counter()
        self._left: Counter[Cost] = Counter()
        self._cached = self._failed = 0
        self._busy = 0
        self._told = self._begun = time.monotonic()

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        """Note what is to run."""
        self._left = Counter(_cost(unit) for unit in to_run)
        self._cached = cached
        self._begun = time.monotonic()
        if not watch().known.is_later:
            self._tell(f"{plan.id}: {len(to_run)} units to run, {self._cached} cached")

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        """Count a unit; tell when it is time to."""
        cost = _cost(unit)
        self._spent[cost] += seconds
        self._ended[cost] += 1
        self._left[cost] -= 1
        self._busy = busy
        if status == "failed":
            self._failed += 1
        if status == "failed" and unit.id not in watch().known.told:
            self._clear()
            self._write(f"failed: {unit}; harness show {unit.id}\n")
        self._tell_in_time(LIVE_SECONDS)

    def beat(self) -> None:
        """Tell when it is time to, though no unit may have ended for long."""
        self._tell_in_time(EVERY_SECONDS)

    def finish(self) -> None:
        """Leave the terminal clean."""
        self._clear()

    def _tell_in_time(self, live_seconds: float) -> None:
        if time.monotonic() - self._told >= (live_seconds if self.live else EVERY_SECONDS):
            self._tell(self._line())

    def _line(self) -> str:
        stages = ", ".join(f"{name} {done}/{total}" for name, done, total in self._stages())
        counts = f"{self._failed} failed, {self._cached} cached"
        if not self._ended:
            return f"{stages}; {counts}; none has ended in {duration(time.monotonic() - self._begun)}"
        return f"{stages}; {self._busy} busy, {counts}; about {duration(self._remaining())} left"

    def _stages(self) -> Iterator[tuple[str, int, int]]:
        for number, name in enumerate(STAGES):
            done = sum(count for cost, count in self._ended.items() if cost[0] == number)
            left = sum(count for cost, count in self._left.items() if cost[0] == number)
            if done + left:
                yield name, done, done + left

    def _remaining(self) -> float:
        """What is left, each unit at the mean cost of its class so far, or of all where its class is new."""
        mean = sum(self._spent.values()) / max(1, sum(self._ended.values()))
        seconds = sum(
            left * (self._spent[cost] / self._ended[cost] if self._ended[cost] else mean)
            for cost, left in self._left.items()
        )
        return seconds / max(1, self._busy)

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{line[:width]}")
        else:
            self._write(line + "\n")

    def _clear(self) -> None:
        if self.live:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        """Write at once; the study goes on when nobody reads any more."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            silence(self.stream)


def _cost(unit: Unit) -> Cost:
    return stage(unit.kind), unit.kind.value, unit.method.name
