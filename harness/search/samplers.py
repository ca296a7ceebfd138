"""What a sampler suggests: a function of the stream, the generation and the results of those before."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from harness.contracts.recipe import Recipe
from harness.contracts.space import Range, Value
from harness.search.objectives import OBJECTIVES
from harness.search.stream import Stream

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = dict[str, Value]
Result = tuple[Values, tuple[float, ...]]
"""A suggestion and its objectives, lower is better; infinite where it came to nothing."""


def random_suggestion(stream: Stream, number: int) -> Values:
    """Return suggestion `number`: each range drawn by itself, seeded by stream and number alone."""
    rng = np.random.default_rng(stream.entropy(number))
    return {name: range_.draw(rng, stream.recipe) for name, range_ in stream.space.items()}


def nsga3_suggestions(stream: Stream, generation: int, earlier: Sequence[Result]) -> dict[int, Values]:
    """Return a whole generation by number, asked of a fresh Optuna study that holds all earlier ones.

    The sampler is NSGA-III (Deb and Jain 2014, IEEE Trans. Evol. Comput. 18) with Optuna's defaults; its first
    generation is drawn at random. `earlier` are all results of generations before, in order.
    """
    import optuna

    if len(earlier) != generation * stream.population:
        raise ValueError(f"generation {generation} needs all {generation * stream.population} results before it")
    with _quiet():
        distributions = {name: _distribution(range_, stream.recipe) for name, range_ in stream.space.items()}
        seed = stream.entropy(generation)[0]
        sampler = optuna.samplers.NSGAIIISampler(seed=seed, population_size=stream.population)
        study = optuna.create_study(directions=["minimize"] * len(OBJECTIVES), sampler=sampler)
        for number, (values, objectives) in enumerate(earlier):
            born = number // stream.population
            study.add_trial(
                optuna.trial.create_trial(
                    params=values,
                    distributions=distributions,
                    values=list(objectives),
                    system_attrs=dict.fromkeys(_GENERATION_KEYS, born),
                )
            )
        first = generation * stream.population
        return {first + at: dict(study.ask(distributions).params) for at in range(stream.population)}


_GENERATION_KEYS = ("nsga3:generation", "NSGAIIISampler:generation")
"""Where Optuna's samplers look for the generation of a trial; the name has changed between its versions."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of each study and trial, and that its NSGA-III is young, which nobody wants to hear so often."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _distribution(range_: Range, recipe: Recipe) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if range_.options:
        return CategoricalDistribution(range_.choices(recipe))
    assert range_.low is not None  # it is searched and has no options
    high = range_.upper(recipe)
    if range_.type is int:
        return IntDistribution(int(range_.low), int(high))
    low = max(range_.low, range_.least) if math.isfinite(range_.least) else range_.low
    return FloatDistribution(low, high, log=range_.log)
