"""Hyperparameters: what a search draws, what a study may set, and what a person reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kstest

from harness import registry
from harness.contracts import (
    METHODS,
    InvalidHyperparameter,
    Range,
    Recipe,
    choice,
    fixed,
    integer,
    log_uniform,
    ranges,
    share_of_training,
    uniform,
    variants,
)

registry.load()
RECIPE = Recipe(epochs=50)
REGISTERED = [
    pytest.param(range_, id=f"{method}.{name}") for method in METHODS for name, range_ in METHODS[method].space.items()
]


@pytest.mark.parametrize("range_", REGISTERED)
def test_a_default_and_every_drawn_value_may_also_be_set(range_: Range) -> None:
    rng = np.random.default_rng(0)
    for value in (range_.default, *(range_.draw(rng, RECIPE) for _ in range(50))):
        assert range_.check("x", value) == value
        assert type(range_.check("x", value)) is range_.type


@pytest.mark.parametrize("range_", REGISTERED)
def test_a_person_can_read_every_range(range_: Range) -> None:
    assert range_.describe()
    assert range_.searched == (not range_.describe().endswith("not searched"))


@given(st.floats(1e-8, 1), st.floats(1e-8, 1), st.integers(0, 99))
def test_drawn_numbers_lie_in_the_range(one: float, two: float, seed: int) -> None:
    assume(abs(one - two) > 1e-12)
    low, high = sorted((one, two))
    rng = np.random.default_rng(seed)
    for made in (log_uniform(low, high, default=low), uniform(low, high, default=low)):
        assert all(low * (1 - 1e-12) <= made.draw(rng, RECIPE) <= high * (1 + 1e-12) for _ in range(20))


def test_numbers_are_drawn_evenly_on_their_scale() -> None:
    rng = np.random.default_rng(0)
    even = [uniform(2, 6, default=2).draw(rng, RECIPE) for _ in range(2000)]
    log = [math.log10(log_uniform(1e-5, 1e-1, default=1e-3).draw(rng, RECIPE)) for _ in range(2000)]
    assert kstest(even, "uniform", args=(2, 4)).pvalue > 1e-3
    assert kstest(log, "uniform", args=(-5, 4)).pvalue > 1e-3


@given(st.integers(1, 400), st.integers(0, 99))
def test_epochs_are_drawn_up_to_a_share_of_the_training_both_ends_included(epochs: int, seed: int) -> None:
    recipe = Recipe(epochs=epochs)
    made: Range = integer(1, share_of_training(0.2), default=1)
    high = max(1, -(-epochs // 5))
    assert made.upper(recipe) == high
    assert 1 <= made.draw(np.random.default_rng(seed), recipe) <= high
    few = Recipe(epochs=15)
    rng = np.random.default_rng(seed)
    assert {made.draw(rng, few) for _ in range(60)} == {1, 2, 3}


def test_published_epoch_bounds() -> None:
    bound = share_of_training(0.2)
    assert [bound.resolve(Recipe(epochs=e)) for e in (182, 50, 91)] == [37, 10, 19]


def test_choices_are_drawn_from_the_options_and_fixed_values_stay() -> None:
    rng = np.random.default_rng(0)
    sizes = choice(64, 128, 256, default=256)
    assert {sizes.draw(rng, RECIPE) for _ in range(60)} == {64, 128, 256}
    assert fixed(0.9).draw(rng, RECIPE) == 0.9
    assert not fixed(0.9).searched


@pytest.mark.parametrize(
    ("range_", "value"),
    [
        (log_uniform(1e-5, 1e-1, default=0.1), 0),
        (log_uniform(1e-5, 1e-1, default=0.1), 5.0),
        (uniform(0, 1, default=0.5), 1),
        (integer(1, 10, default=5), 500),
        (choice(64, 128, default=64), 16),
        (choice("a", "b", default="a"), "b"),
        (choice(0.5, 1.0, default=0.5), 1.0),
        (fixed(0.9, most=1), 0.0),
    ],
)
def test_a_study_may_set_what_makes_sense(range_: Range, value: Any) -> None:
    assert range_.check("x", value) == value


@pytest.mark.parametrize(
    ("range_", "value", "message"),
    [
        (log_uniform(1e-5, 1e-1, default=0.1), -1e-3, "at least 0"),
        (log_uniform(1e-5, 1e-1, default=0.1), math.nan, "at least 0"),
        (log_uniform(1e-5, 1e-1, default=0.1), math.inf, "finite"),
        (log_uniform(1e-5, 1e-1, default=0.1), "0.1", "a number"),
        (log_uniform(1e-5, 1e-1, default=0.1), None, "a number"),
        (uniform(0, 1, default=0.5), 1.01, "between 0 and 1"),
        (integer(1, 10, default=5), 0, "at least 1"),
        (integer(1, 10, default=5), 2.0, "a whole number"),
        (integer(1, 10, default=5), True, "a whole number"),
        (choice(64, 128, default=64), 0, "at least 1"),
        (choice("a", "b", default="a"), "c", "one of a, b"),
        (choice("a", "b", default="a"), 1, "a text"),
        (choice(0.5, 1.0, default=0.5), 0.7, "one of 0.5, 1.0"),
        (fixed(0.9, most=1), 1.1, "between 0 and 1"),
    ],
)
def test_a_senseless_value_is_refused_with_what_would_be_right(range_: Range, value: Any, message: str) -> None:
    with pytest.raises(InvalidHyperparameter, match=f"^method.x is .*; it must be .*{message}"):
        range_.check("method.x", value)


def test_options_of_several_types_are_refused() -> None:
    with pytest.raises(TypeError, match="one type"):
        choice(1, 2.0, default=1)


def test_a_search_draws_no_batch_above_the_training_batch_but_a_study_may_set_one() -> None:
    rng = np.random.default_rng(0)
    drawn = {
        most: {ranges.batch_size(256).draw(rng, Recipe(batch_size=most)) for _ in range(50)} for most in (32, 128, 256)
    }
    assert drawn == {32: {64}, 128: {64, 128}, 256: {64, 128, 256}}
    assert ranges.batch_size(256).check("batch_size", 512) == 512


def test_a_temperature_of_nothing_is_neither_drawn_nor_set() -> None:
    class Lowest(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return low

    assert ranges.temperature(1.0).draw(Lowest(np.random.PCG64(0)), RECIPE) > 0
    with pytest.raises(InvalidHyperparameter, match=r"between 0\.001 and 5"):
        ranges.temperature(1.0).check("temperature", 0)


def test_fractional_epochs_end_at_the_share_of_the_training() -> None:
    rng = np.random.default_rng(0)
    drawn = [ranges.fractional_epochs(3.2).draw(rng, Recipe(epochs=182)) for _ in range(500)]
    assert 1 <= min(drawn) < 2
    assert 36 < max(drawn) <= 37
    assert any(value % 1 for value in drawn)


def test_variants_are_set_by_name_and_never_drawn() -> None:
    variant = variants("reference", fixed={"alpha": uniform(0, 0.1, default=0.05)})
    assert {variant.draw(np.random.default_rng(seed), RECIPE) for seed in range(20)} == {"default"}
    assert variant.check("variant", "fixed") == "fixed"
    with pytest.raises(InvalidHyperparameter, match="one of default, reference, fixed"):
        variant.check("variant", "strict")
