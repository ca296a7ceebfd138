"""What a suggestion or a choice waits for: the end of every trial that determines it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.origin import Chosen, Suggested
from harness.search.stream import Stream, stream_of, streams_of
from harness.unit import Kind, Unit

Gate = tuple[Stream, int]
"""A stream up to a generation, itself included. It opens when all trials have ended, whatever became of them, and the
retrains that they are compared with are done."""


class Gates:
    """The gates of the searches among some units; a unit that is not among them holds none closed."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._waits = {unit.id: gates for unit in units if (gates := waits_for(unit))}
        wanted: dict[Stream, set[int]] = defaultdict(set)
        for gates in self._waits.values():
            for stream, generation in gates:
                wanted[stream].add(generation)
        self._closing: dict[Gate, set[str]] = {(stream, g): set() for stream, all_of in wanted.items() for g in all_of}
        self._of: dict[str, list[Gate]] = defaultdict(list)
        self._retrains: set[str] = set()
        for unit in units:
            if isinstance(unit.origin, Suggested):
                stream = stream_of(unit)
                later = (g for g in wanted.get(stream, ()) if g >= unit.origin.generation)
                self._close(unit, ((stream, g) for g in later))
        by_cell = defaultdict(list)
        for gate in self._closing:
            by_cell[gate[0].cell].append(gate)
        for unit in units:
            if unit.kind == Kind.RETRAIN:
                self._retrains.add(unit.id)
                self._close(unit, (gate for gate in by_cell[unit.cell] if unit.seed in gate[0].seeds))

    def closed_before(self, unit: str) -> frozenset[Gate]:
        """Return the closed gates that a unit waits for."""
        return frozenset(gate for gate in self._waits.get(unit, ()) if self._closing[gate])

    def closing(self, unit: str) -> frozenset[str]:
        """Return the units that must end before a unit can begin, beside its needs."""
        return frozenset[str]().union(*(self._closing[gate] for gate in self._waits.get(unit, ())))

    def held_by(self, unit: str) -> bool:
        """Say whether a unit that has not ended holds a gate closed."""
        return bool(self._of.get(unit))

    def ended(self, unit: str, *, done: bool) -> list[Gate]:
        """Note the last end of a unit, with a result or without; return the gates that it opens."""
        if not done and unit in self._retrains:
            return []
        opened = []
        for gate in self._of.pop(unit, ()):
            self._closing[gate].discard(unit)
            if not self._closing[gate]:
                opened.append(gate)
        return opened

    def _close(self, unit: Unit, gates: Iterable[Gate]) -> None:
        for gate in gates:
            self._closing[gate].add(unit.id)
            self._of[unit.id].append(gate)


def waits_for(unit: Unit) -> tuple[Gate, ...]:
    """Return the gates before a unit, open or closed."""
    if isinstance(unit.origin, Chosen):
        return tuple((stream, unit.origin.last_generation) for stream in streams_of(unit))
    if isinstance(unit.origin, Suggested) and unit.origin.generation:
        return ((stream_of(unit), unit.origin.generation - 1),)
    return ()
