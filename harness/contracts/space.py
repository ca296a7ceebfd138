"""Hyperparameters: a default, the values that make sense, and the range that a search draws from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.contracts.recipe import Recipe
from harness.errors import HarnessError

Value = float | int | str


class InvalidHyperparameter(HarnessError):
    """A value of the wrong type or outside what the hyperparameter can mean."""


@dataclass(frozen=True)
class ShareOfTraining:
    """An upper bound in epochs that follows the recipe: ceil(share x training epochs)."""

    share: float

    def resolve(self, recipe: Recipe) -> int:
        """Return the bound in epochs, at least 1."""
        return max(1, math.ceil(self.share * recipe.epochs))


@dataclass(frozen=True)
class Range:
    """One hyperparameter of a method.

    `low` and `high` bound what a search draws (both ends included); `least` and `most` bound what a study may
    set, which is wider: a weight decay of 0 is valid although a log-uniform range never draws it.
    """

    type: type[float] | type[int] | type[str]
    default: Value
    low: float | None = None
    high: float | ShareOfTraining | None = None
    log: bool = False
    options: tuple[Value, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    drawn: bool = True
    capped: bool = False
    """Options above the training batch of the recipe are not drawn."""
    overrides: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    """For the hyperparameter `variant`: the ranges of others that differ under each of its options."""

    @property
    def searched(self) -> bool:
        """Whether a search draws this hyperparameter at all."""
        return self.drawn and (bool(self.options) or self.low is not None)

    def choices(self, recipe: Recipe) -> tuple[Value, ...]:
        """Return the options under a recipe; the first stays even where all are above the training batch."""
        if not self.capped:
            return self.options
        return tuple(o for o in self.options if float(o) <= recipe.batch_size) or self.options[:1]

    def upper(self, recipe: Recipe) -> float:
        """Return the upper end of the range under a recipe."""
        if self.high is None:
            raise ValueError("a fixed hyperparameter has no range")
        return float(self.high.resolve(recipe) if isinstance(self.high, ShareOfTraining) else self.high)

    def draw(self, rng: np.random.Generator, recipe: Recipe) -> Value:
        """Return one value from the range; a fixed hyperparameter gives its default."""
        if not self.searched:
            return self.default
        if self.options:
            options = self.choices(recipe)
            return options[int(rng.integers(len(options)))]
        assert self.low is not None  # it is searched and has no options
        high = self.upper(recipe)
        if self.type is int:
            return int(rng.integers(int(self.low), int(high), endpoint=True))
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(high))))
        return max(self.least, float(rng.uniform(self.low, high)))

    def check(self, name: str, value: Any) -> Value:
        """Return the value in its type, or raise `InvalidHyperparameter` with the values that are allowed."""
        wanted = {float: "a number", int: "a whole number", str: "a text"}[self.type]
        accepted = (int, float) if self.type is float else self.type
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise InvalidHyperparameter(f"{name} is {value!r}; it must be {wanted}")
        if isinstance(value, str) or (self.options and self.type is float):
            if value not in self.options:
                raise InvalidHyperparameter(f"{name} is {value!r}; it must be {self.describe()}")
            return self.type(value)
        if not self.least <= value <= self.most or abs(value) == math.inf:
            raise InvalidHyperparameter(f"{name} is {value}; it must be {self._bounds()}")
        return self.type(value)

    def _bounds(self) -> str:
        if math.isinf(self.most):
            return f"finite and at least {self.least:g}"
        return f"between {self.least:g} and {self.most:g}"

    def describe(self) -> str:
        """Return the range as a person reads it, such as `log-uniform 1e-05 to 0.1`."""
        if self.options:
            end = ", at most the training batch" if self.capped else "" if self.drawn else "; not searched"
            return "one of " + ", ".join(map(str, self.options)) + end
        if self.low is None:
            return "not searched"
        kind = "log-uniform" if self.log else "whole number" if self.type is int else "uniform"
        if isinstance(self.high, ShareOfTraining):
            return f"{kind} {self.low:g} to {self.high.share:.0%} of the training epochs"
        return f"{kind} {self.low:g} to {self.high:g}"


def log_uniform(low: float, high: float, *, default: float) -> Any:
    """Declare a positive number searched on a log scale; a study may also set it to 0."""
    return Range(float, default, low, high, log=True, least=0.0)


def uniform(low: float, high: float | ShareOfTraining, *, default: float, least: float | None = None) -> Any:
    """Declare a number searched evenly between `low` and `high`; a study must stay inside, too.

    `least` is the lowest value that means anything where `low` itself means nothing (a temperature of 0).
    """
    most = math.inf if isinstance(high, ShareOfTraining) else high
    return Range(float, default, low, high, least=low if least is None else least, most=most)


def integer(low: int, high: int | ShareOfTraining, *, default: int) -> Any:
    """Declare a whole number searched evenly; a study may exceed `high` but not go below `low`."""
    return Range(int, default, low, high, least=low)


def choice(*options: Value, default: Value, capped: bool = False) -> Any:
    """Declare a choice; a study may set whole-number options (batch sizes) to any positive whole number.

    A search draws no option above the training batch where the options are `capped`.
    """
    kind = type(default)
    if any(type(option) is not kind for option in options):
        raise TypeError(f"the options {options} and the default {default!r} must have one type")
    return Range(kind, default, options=options, least=1 if kind is int else -math.inf, capped=capped)


def fixed(default: Value, *, least: float = 0.0, most: float = math.inf, options: tuple[str, ...] = ()) -> Any:
    """Declare a hyperparameter that a study may set but that no search draws, such as momentum; a text has options."""
    return Range(type(default), default, least=least, most=most, options=options, drawn=False)


def variants(*names: str, **ranges: Mapping[str, Range]) -> Any:
    """Declare named variants of a method beside `default`; no search draws them.

    `reference` is what the released code of the method does, step by step; the harness then also hands out batches as
    its loaders did (see `Samples.batches`). A variant given by keyword replaces the ranges of other hyperparameters.
    """
    options = ("default", *names, *ranges)
    return Range(str, "default", options=options, drawn=False, overrides=ranges)


def share_of_training(share: float) -> ShareOfTraining:
    """Return an upper bound that depends on the recipe: ceil(share x training epochs)."""
    return ShareOfTraining(share)
