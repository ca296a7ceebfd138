"""Forget a whole class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.contracts import scenario
from harness.contracts.scenario import InvalidScenario, Positions


@scenario(example="class:3", name="class")
@dataclass(frozen=True)
class OneClass:
    """All training images of one class."""

    label: int

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read a class id, a whole number from 0."""
        if not (argument.isascii() and argument.isdigit()):
            raise InvalidScenario(f"'class:{argument}': the class must be a whole number from 0, such as class:3")
        return cls(int(argument))

    def __str__(self) -> str:
        return f"class:{self.label}"

    def check(self, classes: int, training: int) -> None:
        """The class must exist."""
        if self.label >= classes:
            raise InvalidScenario(f"'{self}': the class must lie between 0 and {classes - 1}")

    def divide(self, labels: NDArray[np.int64]) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions in the order of the training data."""
        return np.flatnonzero(labels != self.label), np.flatnonzero(labels == self.label)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The one class."""
        return (self.label,)
