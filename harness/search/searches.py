"""The searches of a plan: what each suggestion is, and which one is best, from what the tables hold."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from harness.contracts.space import Range, Value
from harness.origin import Chosen, Suggested
from harness.search.choice import Best, best_of
from harness.search.objectives import OBJECTIVES, objectives
from harness.search.results import Results
from harness.search.samplers import Values, nsga3_suggestions, random_suggestion
from harness.search.stream import Stream, stream_of, streams_of
from harness.store import Store
from harness.unit import Kind, Unit

HOPELESS = (math.inf,) * len(OBJECTIVES)
"""The objectives of a suggestion that failed or diverged with one of its seeds."""

Cell = tuple[str, str, str]


class Searches:
    """Fills in what searches draw. It asks for the results of a stream when they are all in, and for each once."""

    def __init__(self, units: Iterable[Unit], store: Store) -> None:
        self._trials: dict[Stream, dict[int, list[Unit]]] = defaultdict(lambda: defaultdict(list))
        self._retrains: dict[tuple[Cell, int], str] = {}
        for unit in units:
            if isinstance(unit.origin, Suggested):
                self._trials[stream_of(unit)][unit.origin.number].append(unit)
            elif unit.kind == Kind.RETRAIN:
                self._retrains[unit.cell, unit.seed] = unit.id
        trials = (unit.id for stream in self._trials.values() for some in stream.values() for unit in some)
        self._results = Results(store, frozenset((*trials, *self._retrains.values())))
        self._asked = cache(self._ask)
        self._best = cache(self._choose)
        self._ran = cache(self._values)

    def resolve(self, unit: Unit) -> Unit:
        """Return a unit with the hyperparameters that its search draws.

        `drawn` stays None where no trial of the search is usable: whoever performs the unit then says so.
        """
        if isinstance(unit.origin, Suggested):
            return replace(unit, drawn=self._suggestion(stream_of(unit), unit.origin.number))
        if isinstance(unit.origin, Chosen):
            best = self.best(unit)
            return unit if best is None else replace(unit, drawn=self._ran(best))
        return unit

    def note(self, unit: Unit, *, done: bool) -> None:
        """Read what a unit has left, as it ends: a driver that tells of each spares itself a look at the tables."""
        self._results.note(unit.id, done=done)

    def best(self, unit: Unit) -> Best | None:
        """Return the best suggestion of the search that a unit's hyperparameters come from; None if none is usable."""
        assert isinstance(unit.origin, Chosen)
        return self._best(streams_of(unit), unit.origin.search.trials)

    def objectives(self, trials: Sequence[Unit]) -> list[dict[str, float | None]]:
        """Return the objectives of some trials, in their order."""
        measured = self._results.measured([unit.id for unit in trials])
        retrains = self._results.measured([self._retrains[unit.cell, unit.seed] for unit in trials])
        return [objectives(*both) for both in zip(measured, retrains, strict=True)]

    def _choose(self, streams: tuple[Stream, ...], trials: int) -> Best | None:
        return best_of({stream: self._objectives(stream, trials) for stream in streams})

    def _values(self, best: Best) -> Values:
        return self._drawn(best.stream, [best.number])[best.number]

    def _suggestion(self, stream: Stream, number: int) -> Values:
        if not stream.population:
            return random_suggestion(stream, number)
        return dict(self._asked(stream, number // stream.population)[number])

    def _ask(self, stream: Stream, generation: int) -> Mapping[int, Values]:
        """Ask for a generation. A suggestion that was committed counts as it was run, another as it would be asked."""
        count = generation * stream.population
        ran = self._drawn(stream, range(count))
        values = [ran.get(number) or self._suggestion(stream, number) for number in range(count)]
        return nsga3_suggestions(stream, generation, list(zip(values, self._objectives(stream, count), strict=True)))

    def _objectives(self, stream: Stream, count: int) -> list[tuple[float, ...]]:
        """Return the objectives of the first `count` suggestions: means over seeds, `HOPELESS` if one is unknown."""
        known = self._known(stream, [unit for number in range(count) for unit in self._trials[stream][number]])
        return [known.get(number, HOPELESS) for number in range(count)]

    def _known(self, stream: Stream, units: list[Unit]) -> dict[int, tuple[float, ...]]:
        """Return the objectives of the suggestions that are usable with every seed of the stream, by number."""
        found = defaultdict[int, list[tuple[float | None, ...]]](list)
        for unit, of_unit in zip(units, self.objectives(units), strict=True):
            assert isinstance(unit.origin, Suggested)
            found[unit.origin.number].append(tuple(of_unit.values()))
        means = {number: tuple(map(_mean, zip(*some, strict=True))) for number, some in found.items()}
        full = (number for number, some in found.items() if len(some) == len(stream.seeds))
        return {number: means[number] for number in full if all(map(math.isfinite, means[number]))}

    def _drawn(self, stream: Stream, numbers: Iterable[int]) -> dict[int, Values]:
        """Return the hyperparameters that committed trials ran with, by number of the suggestion."""
        space, found = stream.space, defaultdict[int, Values](dict)
        numbered = [(number, unit.id) for number in numbers for unit in self._trials[stream][number]]
        settings = self._results.settings([unit for _, unit in numbered])
        for (number, _), of_unit in zip(numbered, settings, strict=True):
            if drawn := {name: _typed(space[name], value, text) for name, value, text in of_unit if name in space}:
                found[number] |= drawn
        return {number: {name: values[name] for name in space} for number, values in found.items()}


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else math.nan


def _typed(range_: Range, number: float | None, text: str | None) -> Value:
    if number is None:
        return str(text)
    return int(number) if range_.type is int else number
