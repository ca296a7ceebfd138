"""How a run goes: one live line on a terminal, one plain line every 30 seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from harness.cli.text import duration
from harness.planner import Plan
from harness.unit import Unit
from harness.work.unit import Status

EVERY_SECONDS = 30.0
LIVE_SECONDS = 0.1


class Live:
    """Tells a stream: units done of all, failed, cached, and the time left by the units' measured costs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self._spent: Counter[tuple[str, str]] = Counter()
        self._ended: Counter[tuple[str, str]] = Counter()
        self._left: Counter[tuple[str, str]] = Counter()
        self._cached = self._failed = 0
        self._begun = self._told = time.monotonic()

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        """Note what is to run."""
        self._left = Counter(_cost_class(unit) for unit in to_run)
        self._cached = cached
        self._begun = self._told = time.monotonic()
        if to_run:
            self._tell(f"{plan.id}: {len(to_run)} units to run, {self._cached} cached")

    def ended(self, unit: Unit, status: Status, seconds: float) -> None:
        """Count a unit; tell when it is time to."""
        key = _cost_class(unit)
        self._spent[key] += seconds  # type: ignore[assignment]
        self._ended[key] += 1
        self._left[key] -= 1
        if status == "failed":
            self._failed += 1
            self._clear()
            self.stream.write(f"failed: {unit}; harness show {unit.id}\n")
        if time.monotonic() - self._told >= (LIVE_SECONDS if self.live else EVERY_SECONDS):
            self._tell(self._line(unit))

    def finish(self) -> None:
        """Leave the terminal clean."""
        self._clear()

    def _line(self, unit: Unit) -> str:
        done, left = sum(self._ended.values()), sum(self._left.values())
        parts = [f"{done}/{done + left} done", f"{self._failed} failed", f"{self._cached} cached"]
        return f"{', '.join(parts)}, about {duration(self._remaining())} left; last: {unit}"

    def _remaining(self) -> float:
        """What is left, each unit at the mean cost of its class so far, or of all where its class is new."""
        mean = sum(self._spent.values()) / max(1, sum(self._ended.values()))
        return sum(
            left * (self._spent[key] / self._ended[key] if self._ended[key] else mean)
            for key, left in self._left.items()
        )

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{line[:width]}")
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def _clear(self) -> None:
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


def _cost_class(unit: Unit) -> tuple[str, str]:
    return unit.kind.value, unit.method.name
