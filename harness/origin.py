"""Where hyperparameters come from when a search draws them; every id is known before any of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import HarnessError

Sampler = Literal["nsga3", "random"]
Select = Literal["reference", "mean"]

SEARCH_VERSION = 1
"""Raised when samplers suggest or choose otherwise; part of the id of whatever a search determines."""

GENERATION_SIZE = 50
"""Suggestions of one generation of `nsga3`, as in Optuna's defaults."""


@dataclass(frozen=True)
class Search:
    """The search of a study: `trials` suggestions for each method in each cell, tried on `seeds`.

    `select` is `reference` (each seed has suggestions of its own, and the best trial of any seed gives the
    hyperparameters of all, as in Deep Unlearn's released code) or `mean` (every suggestion is tried on all seeds, and
    the mean of its objectives counts). `population` is the size of a generation of `nsga3`; 0 for `random`.
    """

    trials: int
    sampler: Sampler
    seeds: tuple[int, ...]
    select: Select
    population: int

    @property
    def label(self) -> str:
        """The search as a config names it: `nsga3:100x3:mean`."""
        return f"{self.sampler}:{self.trials}x{len(self.seeds)}:{self.select}"

    @property
    def streams(self) -> tuple[tuple[int, ...], ...]:
        """The seeds of each sequence of suggestions: one sequence for all, or one for each seed."""
        return (self.seeds,) if self.select == "mean" else tuple((seed,) for seed in self.seeds)

    def suggested(self, number: int, seeds: tuple[int, ...]) -> Suggested:
        """Return the origin of suggestion `number` of the sequence for these seeds."""
        return Suggested(self.sampler, number, seeds, self.population)


@dataclass(frozen=True)
class Suggested:
    """Suggestion `number` (from 0) of a sampler, whose objectives are means over `seeds`.

    How many more suggestions a study asks for is no part of it: a search that grows keeps what it has.
    """

    sampler: Sampler
    number: int
    seeds: tuple[int, ...]
    population: int

    @property
    def generation(self) -> int:
        """The generation it is asked in; it is determined by the results of all before."""
        return self.number // self.population if self.population else 0


@dataclass(frozen=True)
class Chosen:
    """The best suggestion of a search in one scenario."""

    search: Search
    scenario: str

    @property
    def last_generation(self) -> int:
        """The generation of the last suggestion."""
        return self.search.suggested(self.search.trials - 1, self.search.seeds).generation


Origin = Suggested | Chosen


class NoUsableTrial(HarnessError):
    """A search in which every trial failed or diverged."""


def origin_of(document: Mapping[str, Any] | None) -> Origin | None:
    """Return the origin of a JSON document made by `dataclasses.asdict`."""
    if document is None:
        return None
    if "number" in document:
        return Suggested(**{**document, "seeds": tuple(document["seeds"])})
    search = document["search"]
    return Chosen(Search(**{**search, "seeds": tuple(search["seeds"])}), document["scenario"])
