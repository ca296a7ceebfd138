"""Forget a random share of the training images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario, Positions, Training
from harness.engine.split import shuffled_split


@scenario(example="random:0.1")
@dataclass(frozen=True)
class Random:
    """A uniform random share of the training images, the same for every seed (Cadet et al. 2024)."""

    fraction: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read a fraction strictly between 0 and 1."""
        try:
            fraction = float(argument)
        except ValueError:
            fraction = float("nan")
        if not 0 < fraction < 1:
            raise InvalidScenario(f"'random:{argument}': the fraction must lie between 0 and 1, such as random:0.1")
        return cls(fraction)

    def __str__(self) -> str:
        return f"random:{self.fraction!r}"

    def check(self, facts: Facts) -> None:
        """Something must be left to retain."""
        if math.ceil(self.fraction * facts.images) >= facts.images:
            raise InvalidScenario(f"'{self}': nothing of {facts.images} training images is left to retain")

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): a shuffled split with ceil(fraction x n) images to forget."""
        return shuffled_split(len(training.labels), self.fraction)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: the forget set holds images of every class."""
        return ()
