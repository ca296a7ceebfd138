"""Samplers: suggestions are functions of the stream and of earlier results, stay in their ranges, and get better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from harness import registry
from harness.contracts import METHODS, Recipe
from harness.contracts.space import Value
from harness.search.samplers import Result, Values, nsga3_suggestions, random_suggestion
from harness.search.stream import Stream
from harness.unit import Named

registry.load()
RECIPE = Recipe(epochs=40, batch_size=64)
HOPELESS = (math.inf,) * 4


def stream(method: str = "neg_grad_plus", **changes: object) -> Stream:
    """Return a stream of 10 suggestions a generation, on seed 0."""
    own = Stream("digits", "random:0.1", "cnn_small", Named(method, 1), (), (0,), "nsga3", 10, RECIPE)
    return replace(own, **changes)  # type: ignore[arg-type]


def distances(values: Values) -> tuple[float, ...]:
    """Return made-up objectives: how far four hyperparameters are from values that the sampler does not know."""
    lr, alpha, epochs, decay = (float(values[name]) for name in ("lr", "alpha", "epochs", "weight_decay"))
    return abs(math.log10(lr) + 2) / 4, abs(alpha - 0.7), abs(epochs - 3) / 8, abs(math.log10(decay) + 3) / 4


def play(own: Stream, generations: int) -> list[Result]:
    """Return what a search finds that runs to its end."""
    found: list[Result] = []
    for generation in range(generations):
        asked = nsga3_suggestions(own, generation, found)
        found += [(values, distances(values)) for values in asked.values()]
    return found


def norms(results: Iterable[Result]) -> list[float]:
    return [math.hypot(*objectives) for _, objectives in results]


def inside(name: str, method: str, value: Value) -> bool:
    range_ = METHODS[method].space[name]
    if range_.options:
        return value in range_.choices(RECIPE)
    assert range_.low is not None
    return range_.low <= float(value) <= range_.upper(RECIPE) and isinstance(value, range_.type)


@pytest.mark.parametrize("method", ["neg_grad_plus", "scrub", "salun", "kde"])
def test_suggestions_lie_in_the_ranges_of_the_method(method: str) -> None:
    own = stream(method)
    asked = nsga3_suggestions(own, 0, [])
    later = nsga3_suggestions(own, 1, [(values, HOPELESS) for values in asked.values()])
    drawn = [random_suggestion(own, number) for number in range(20)]
    for values in (*asked.values(), *later.values(), *drawn):
        assert list(values) == list(own.space)
        assert all(inside(name, method, value) for name, value in values.items())


def test_a_random_suggestion_is_its_own_seed() -> None:
    own = stream(sampler="random", population=0)
    drawn = [random_suggestion(own, number) for number in range(30)]
    assert drawn[7] == random_suggestion(own, 7)
    assert len({str(values) for values in drawn}) == 30
    for other in (stream(seeds=(1,)), stream(scenario="class:3"), stream(given=(("alpha", 0.5),))):
        assert random_suggestion(other, 7) != drawn[7]
    assert "alpha" not in random_suggestion(stream(given=(("alpha", 0.5),)), 7)


def test_a_generation_follows_from_earlier_results_alone() -> None:
    """Asked again, alone and in any order, as after a resume, each generation is the same."""
    own = stream()
    results = play(own, 4)
    for generation in (3, 1, 2, 0):
        again = nsga3_suggestions(own, generation, results[: 10 * generation])
        assert list(again) == list(range(10 * generation, 10 * generation + 10))
        assert list(again.values()) == [values for values, _ in results[10 * generation : 10 * generation + 10]]
    opposite = [(values, tuple(1 - each for each in objectives)) for values, objectives in results[:20]]
    assert nsga3_suggestions(own, 2, opposite) != nsga3_suggestions(own, 2, results[:20]), "results do not matter"


def test_nsga3_comes_closer_and_random_draws_do_not() -> None:
    """Over five streams the mean norm falls by a third in eight generations; random ones stay within 5 %."""
    found, drawn = [], []
    for seed in range(5):
        own = stream(seeds=(seed,))
        found.append(norms(play(own, 8)))
        drawn.append(norms((v, distances(v)) for v in (random_suggestion(own, number) for number in range(80))))
    assert np.mean(found, axis=0)[-20:].mean() < 0.8 * np.mean(found, axis=0)[:20].mean()
    assert np.mean(drawn, axis=0)[-20:].mean() > 0.9 * np.mean(drawn, axis=0)[:20].mean()


def test_failed_trials_are_borne() -> None:
    own = stream()
    first = list(nsga3_suggestions(own, 0, []).values())
    some = [(values, HOPELESS if number % 3 else distances(values)) for number, values in enumerate(first)]
    assert len(nsga3_suggestions(own, 1, some)) == 10


def test_a_generation_without_all_before_it_is_refused() -> None:
    with pytest.raises(ValueError, match="generation 2 needs all 20 results before it"):
        nsga3_suggestions(stream(), 2, play(stream(), 1))
