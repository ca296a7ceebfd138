"""What a suggestion or a choice waits for: the end of every trial that determines it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence

from harness.origin import Chosen, Suggested
from harness.search.stream import Stream, stream_of, streams_of
from harness.unit import Kind, Unit

Gate = tuple[Stream, int]
"""A stream up to a generation, itself included. It opens when all trials have ended, whatever became of them, and the
retrains that they are compared with are done."""


class Gates:
    """The gates of the searches among some units; a unit that is not among them holds none closed.

    Of the gates of a stream each is closed while an earlier one is, so that a trial is noted at one of them alone: the
    first that it holds closed.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self._waits = {unit.id: gates for unit in units if (gates := waits_for(unit))}
        wanted: dict[Stream, set[int]] = defaultdict(set)
        for gates in self._waits.values():
            for stream, generation in gates:
                wanted[stream].add(generation)
        self._generations = {stream: sorted(all_of) for stream, all_of in wanted.items()}
        self._holding: dict[Stream, list[set[str]]] = {s: [set() for _ in g] for s, g in self._generations.items()}
        self._of: dict[str, list[tuple[Stream, int]]] = defaultdict(list)
        by_cell = defaultdict(list)
        for stream in self._generations:
            by_cell[stream.cell].append(stream)
        self._retrains: set[str] = set()
        for unit in units:
            if isinstance(unit.origin, Suggested):
                stream = stream_of(unit)
                self._hold(unit, stream, bisect_left(self._generations.get(stream, ()), unit.origin.generation))
            elif unit.kind == Kind.RETRAIN:
                self._retrains.add(unit.id)
                for stream in (stream for stream in by_cell[unit.cell] if unit.seed in stream.seeds):
                    self._hold(unit, stream, 0)
        self._open = dict.fromkeys(self._generations, 0)
        for stream in self._generations:
            self._opened(stream)

    def before(self, unit: str) -> tuple[Gate, ...]:
        """Return the gates that a unit waits for, open or closed."""
        return self._waits.get(unit, ())

    def closed_before(self, unit: str) -> frozenset[Gate]:
        """Return the closed gates that a unit waits for."""
        return frozenset(gate for gate in self.before(unit) if self._place(gate) >= self._open[gate[0]])

    def holding(self, gate: Gate) -> Collection[str]:
        """Return the units that hold a gate closed and none before it; they themselves wait for those before it."""
        until = self._holding[gate[0]][: self._place(gate) + 1]
        return next((held for held in reversed(until) if held), frozenset())

    def held_by(self, unit: str) -> bool:
        """Say whether a unit that has not ended holds a gate closed."""
        return bool(self._of.get(unit))

    def ended(self, unit: str, *, done: bool) -> list[Gate]:
        """Note the last end of a unit, with a result or without; return the gates that it opens."""
        if not done and unit in self._retrains:
            return []
        opened = []
        for stream, place in self._of.pop(unit, ()):
            self._holding[stream][place].discard(unit)
            opened += self._opened(stream)
        return opened

    def _place(self, gate: Gate) -> int:
        stream, generation = gate
        return bisect_left(self._generations[stream], generation)

    def _hold(self, unit: Unit, stream: Stream, place: int) -> None:
        if place < len(self._generations.get(stream, ())):
            self._holding[stream][place].add(unit.id)
            self._of[unit.id].append((stream, place))

    def _opened(self, stream: Stream) -> list[Gate]:
        """Return the gates of a stream that nothing holds closed any more, each once."""
        first, holding = self._open[stream], self._holding[stream]
        while self._open[stream] < len(holding) and not holding[self._open[stream]]:
            self._open[stream] += 1
        return [(stream, generation) for generation in self._generations[stream][first : self._open[stream]]]


def waits_for(unit: Unit) -> tuple[Gate, ...]:
    """Return the gates before a unit, open or closed."""
    if isinstance(unit.origin, Chosen):
        return tuple((stream, unit.origin.last_generation) for stream in streams_of(unit))
    if isinstance(unit.origin, Suggested) and unit.origin.generation:
        return ((stream_of(unit), unit.origin.generation - 1),)
    return ()
