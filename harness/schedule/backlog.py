"""What can run next: units whose needs are met, in an order that keeps the workers warm and busy."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from harness.planner import begin_order
from harness.process.deaths import MOST_TRIES
from harness.search.gates import Gate, Gates
from harness.unit import Kind, Unit


class Stage(Enum):
    """Units run together; then those that are timed, each alone."""

    TOGETHER = "together"
    ALONE = "alone"


@dataclass(frozen=True)
class Suggestion:
    """A unit to begin: its attempt over all runs (what rows carry) and its try in this run, both from 1."""

    unit: Unit
    attempt: int
    number: int


class Backlog:
    """The units of a run that have not begun, and what they wait for.

    A need that is not among the units is met. A unit whose need failed stays here: it is still to be run. What a search
    determines waits for its trials, and `resolve` fills in its hyperparameters when it is taken.
    What is ready begins in the order of `begin_order`.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        attempts: Mapping[str, int],
        gates: Gates | None = None,
        resolve: Callable[[Unit], Unit] = lambda unit: unit,
    ) -> None:
        self._units = {unit.id: unit for unit in units}
        self._attempts = Counter(attempts)
        self._tries: Counter[str] = Counter()
        self._gates = Gates(units) if gates is None else gates
        self._resolve = resolve
        self._missing: dict[str, set[str | Gate]] = {
            unit.id: {*(self._units.keys() & set(unit.comes_after)), *self._gates.closed_before(unit.id)}
            for unit in units
        }
        self._dependants: dict[str | Gate, list[str]] = defaultdict(list)
        for waiting, missing in self._missing.items():
            for one in missing:
                self._dependants[one].append(waiting)
        self._order = begin_order(units, self._gates)
        self._ready: dict[Stage, list[tuple[int, str]]] = {stage: [] for stage in Stage}
        for unit in units:
            self._make_ready_if_met(unit.id)

    def ready(self, stage: Stage) -> bool:
        """Say whether a unit of a stage could begin now."""
        return bool(self._ready[stage])

    def take(self, stage: Stage) -> Suggestion | None:
        """Return the next unit of a stage to begin, or None while none can."""
        if not self._ready[stage]:
            return None
        _, unit = heapq.heappop(self._ready[stage])
        self._attempts[unit] += 1
        self._tries[unit] += 1
        return Suggestion(self._resolve(self._units[unit]), self._attempts[unit], self._tries[unit])

    def finished(self, unit: str) -> None:
        """Note that a unit has its result: what waited for it alone can begin."""
        self._release(unit)
        for gate in self._gates.ended(unit, done=True):
            self._release(gate)

    def failed(self, unit: str) -> None:
        """Note that a unit will have no result in this run; a search goes on without it."""
        for gate in self._gates.ended(unit, done=False):
            self._release(gate)

    def _release(self, met: str | Gate) -> None:
        for dependant in self._dependants[met]:
            self._missing[dependant].discard(met)
            self._make_ready_if_met(dependant)

    def again(self, unit: str) -> bool:
        """Put back a unit that was begun and came to nothing; return False if it had all its tries."""
        if self._tries[unit] >= MOST_TRIES:
            return False
        self._make_ready_if_met(unit)
        return True

    def _make_ready_if_met(self, unit: str) -> None:
        if not self._missing[unit]:
            alone = self._units[unit].kind == Kind.TIMING
            heapq.heappush(self._ready[Stage.ALONE if alone else Stage.TOGETHER], (self._order[unit], unit))
