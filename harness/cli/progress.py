"""How a run goes: one live line on a terminal, one plain line every 30 seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from harness.cli.terminal import silence
from harness.cli.text import duration
from harness.planner import Plan, stage
from harness.pricing.costs import Costs, epochs_of
from harness.process.watch import watch
from harness.unit import DatasetRef, Kind, Named, Unit
from harness.work.unit import Status

EVERY_SECONDS = 30.0
LIVE_SECONDS = 0.1
STAGES = ("trials", "farm", "timing")

Like = tuple[Kind, DatasetRef, Named, Named, float | None]
"""What units of one price have in common."""


class Live:
    """Tells a stream, stage by stage: units done, workers busy, failed, cached, and the time left by measured costs.

    `known` gives what units have taken by their rows, in runs before and in this one. It is asked with the first unit
    of a stage: rows tell how much of the time was work, which is what the stages have in common.
    """

    def __init__(self, stream: TextIO, known: Callable[[], Costs] | None = None) -> None:
        self.stream = stream
        self._known, self._costs = known, Costs()
        self._stage: int | None = None
        self.live = stream.isatty()
        self._ended: Counter[int] = Counter()
        self._left: Counter[Like] = Counter()
        self._one_of: dict[Like, Unit] = {}
        self._like: dict[str, Like] = {}
        self._cached = self._failed = 0
        self._busy = 0
        self._told = self._begun = time.monotonic()

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        """Note what is to run."""
        self._like = {unit.id: _like(unit) for unit in to_run}
        self._one_of = {self._like[unit.id]: unit for unit in to_run}
        self._left = Counter(self._like.values())
        self._cached = cached
        self._begun = time.monotonic()
        if not watch().known.is_later:
            self._tell(f"{plan.id}: {len(to_run)} units to run, {self._cached} cached")

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        """Count a unit; tell when it is time to."""
        if self._known is not None and stage(unit.kind) != self._stage:
            self._costs = self._known()
        self._stage = stage(unit.kind)
        self._costs.learn(unit, seconds)
        self._ended[stage(unit.kind)] += 1
        self._left[self._like[unit.id]] -= 1
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
            done = self._ended[number]
            left = sum(count for like, count in self._left.items() if stage(like[0]) == number)
            if done + left:
                yield name, done, done + left

    def _remaining(self) -> float:
        """Return the seconds that are left. Timing units run one at a time, whatever is busy now."""
        seconds = {False: 0.0, True: 0.0}
        for like, count in self._left.items():
            if count:
                seconds[like[0] == Kind.TIMING] += count * self._costs.guess(self._one_of[like])
        return seconds[False] / max(1, self._busy) + seconds[True]

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


def _like(unit: Unit) -> Like:
    return unit.kind, unit.dataset, unit.architecture, unit.method, epochs_of(unit)
