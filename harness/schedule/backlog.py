"""What can run next: units whose needs are met, in an order that keeps the workers warm and busy."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from harness.planner import begin_order
from harness.process.deaths import MOST_TRIES
from harness.schedule.demand import Demand
from harness.schedule.packing import Packing, Shape
from harness.search.gates import Gate, Gates
from harness.unit import Kind, Unit


class Stage(Enum):
    """Units run together; then those that are timed, each alone."""

    TOGETHER = "together"
    ALONE = "alone"


@dataclass(frozen=True)
class Suggestion:
    """A unit to begin: its attempt over all runs (what rows carry) and its try in this run, both from 1; and what it
    takes of its node in this try."""

    unit: Unit
    attempt: int
    number: int
    demand: Demand


class Backlog:
    """The units of a run that have not begun, and what they wait for.

    A need that is not among the units is met. A unit whose need failed stays here: it is still to be run. What a search
    determines waits for its trials, and `resolve` fills in its hyperparameters when it is taken.
    What is ready begins in the order of `begin_order`. Where units take different shares of a GPU, those that run are
    kept in proportion to those that are ready: a worker has one share for life, and is kept while units want it.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        attempts: Mapping[str, int],
        gates: Gates | None = None,
        resolve: Callable[[Unit], Unit] = lambda unit: unit,
        packing: Packing | None = None,
    ) -> None:
        self._units = {unit.id: unit for unit in units}
        self._packing = packing or Packing(Demand(1.0))
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
        self._ready: dict[Stage, dict[Shape, list[tuple[int, str]]]] = {stage: defaultdict(list) for stage in Stage}
        self._shares: dict[str, float] = {}
        self._running = Counter[float]()
        for unit in units:
            self._make_ready_if_met(unit.id)

    def ready(self, stage: Stage) -> bool:
        """Say whether a unit of a stage could begin now."""
        return any(self._ready[stage].values())

    def take(self, stage: Stage, waits: bool = False) -> Suggestion | None:
        """Return the next unit of a stage to begin, or None while none can.

        `waits` says that it will not begin at once: then it is one whose share is known, since the share is fixed now.
        """
        shape = self._shape(stage, waits)
        if shape is None:
            return None
        _, identity = heapq.heappop(self._ready[stage][shape])
        self._attempts[identity] += 1
        self._tries[identity] += 1
        unit = self._resolve(self._units[identity])
        demand = self._packing.usual.alone() if stage == Stage.ALONE else self._packing.demand(unit)
        self._shares[identity] = demand.gpu
        self._running[demand.gpu] += 1
        return Suggestion(unit, self._attempts[identity], self._tries[identity], demand)

    def _shape(self, stage: Stage, waits: bool) -> Shape | None:
        """Return the shape of the next unit: of the share that has the fewest running for those ready, the first."""
        by_share: dict[float, list[Shape]] = defaultdict(list)
        for shape, heap in self._ready[stage].items():
            if heap and (self._packing.is_known(shape) or not waits):
                by_share[self._packing.share(shape)].append(shape)
        if not by_share:
            return None
        heaps = self._ready[stage]

        def quotient(share: float) -> float:  # by which D'Hondt deals out seats
            return sum(len(heaps[shape]) for shape in by_share[share]) / (self._running[share] + 1)

        return min(by_share[max(by_share, key=quotient)], key=lambda shape: heaps[shape][0])

    def finished(self, unit: str) -> None:
        """Note that a unit has its result: what waited for it alone can begin."""
        self._stop(unit)
        self._release(unit)
        for gate in self._gates.ended(unit, done=True):
            self._release(gate)

    def failed(self, unit: str) -> None:
        """Note that a unit will have no result in this run; a search goes on without it."""
        self._stop(unit)
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
        self._stop(unit)
        self._make_ready_if_met(unit)
        return True

    def _stop(self, unit: str) -> None:
        if unit in self._shares:
            self._running[self._shares.pop(unit)] -= 1

    def _make_ready_if_met(self, unit: str) -> None:
        if not self._missing[unit]:
            one = self._units[unit]
            stage = Stage.ALONE if one.kind == Kind.TIMING else Stage.TOGETHER
            shape = self._packing.shape(self._resolve(one) if self._packing.measures else one)
            heapq.heappush(self._ready[stage][shape], (self._order[unit], unit))
