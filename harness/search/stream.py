"""A stream: one sequence of suggestions, for one method in one cell."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache

from harness.contracts.method import METHODS, VARIANT
from harness.contracts.recipe import Recipe
from harness.contracts.space import Range, Value
from harness.origin import SEARCH_VERSION, Chosen, Sampler, Suggested
from harness.unit import Named, Unit


@dataclass(frozen=True)
class Stream:
    """What a sequence of suggestions is for; `given` are the hyperparameters that it leaves alone."""

    dataset: str
    scenario: str
    architecture: str
    method: Named
    given: tuple[tuple[str, Value], ...]
    seeds: tuple[int, ...]
    sampler: Sampler
    population: int
    recipe: Recipe = field(compare=False)  # of the data set and architecture: one in a study

    @property
    def cell(self) -> tuple[str, str, str]:
        """Data set, scenario and architecture, as of `Unit.cell`."""
        return self.dataset, self.scenario, self.architecture

    @property
    def space(self) -> dict[str, Range]:
        """The ranges to draw from, in the order in which the method declares them."""
        given = dict(self.given)
        ranges = METHODS[self.method.name].space_of(str(given.get(VARIANT, "default")))
        return {name: range_ for name, range_ in ranges.items() if range_.searched and name not in given}

    def entropy(self, number: int) -> list[int]:
        """Return what seeds the random numbers of a suggestion or a generation; as much as `numpy` or Optuna takes."""
        told = [SEARCH_VERSION, self.dataset, self.scenario, self.architecture, self.method.name, self.method.version]
        text = json.dumps([*told, *map(list, self.given), list(self.seeds), number])
        digest = hashlib.sha256(text.encode()).digest()
        return [int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4)]


def stream_of(unit: Unit) -> Stream:
    """Return the stream of a trial of a search."""
    assert isinstance(unit.origin, Suggested)
    return _stream(unit, unit.scenario.name, unit.origin)


def streams_of(unit: Unit) -> tuple[Stream, ...]:
    """Return the streams from which the hyperparameters of a unit are chosen."""
    assert isinstance(unit.origin, Chosen)
    search, scenario = unit.origin.search, unit.origin.scenario
    return tuple(_stream(unit, scenario, search.suggested(0, seeds)) for seeds in search.streams)


def _stream(unit: Unit, scenario: str, origin: Suggested) -> Stream:
    return _shared(
        unit.dataset.label,
        scenario,
        unit.architecture.name,
        unit.method,
        tuple(sorted(unit.values.items())),
        origin.seeds,
        origin.sampler,
        origin.population,
        unit.recipe,
    )


_shared = lru_cache(maxsize=4096)(Stream)
"""Tens of thousands of units are of a few streams: as one object each they are found by it, not by their content."""
