"""Forget a whole class, or several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario, Positions, Training
from tasks.scenarios._read import is_id

KEPT = 2
"""At least so many classes must be left."""


@scenario(example="class:3", name="class")
@dataclass(frozen=True)
class OneClass:
    """All training images of one class; `class:*` stands for each class in turn."""

    label: int

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read a class id, a whole number from 0."""
        if not is_id(argument):
            raise InvalidScenario(f"'class:{argument}': the class must be a whole number from 0, such as class:3")
        return cls(int(argument))

    @staticmethod
    def each(classes: int) -> Iterator[str]:
        """Yield the arguments that `*` stands for."""
        return map(str, range(classes))

    def __str__(self) -> str:
        return f"class:{self.label}"

    def check(self, facts: Facts) -> None:
        """The class must exist, and two others."""
        _check(self, self.forget_classes, facts.classes)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions in the order of the training data."""
        return np.flatnonzero(training.labels != self.label), np.flatnonzero(training.labels == self.label)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The one class."""
        return (self.label,)


@scenario(example="classes:0,2")
@dataclass(frozen=True)
class Classes:
    """All training images of several classes."""

    labels: tuple[int, ...]

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read class ids, whole numbers from 0 between commas; their order and repeats do not matter."""
        texts = argument.split(",")
        if not all(map(is_id, texts)):
            raise InvalidScenario(f"'classes:{argument}': the classes must be whole numbers, such as classes:0,2")
        labels = tuple(sorted({int(text) for text in texts}))
        if len(labels) == 1:
            raise InvalidScenario(f"'classes:{argument}' names one class; write class:{labels[0]}")
        return cls(labels)

    def __str__(self) -> str:
        return f"classes:{','.join(map(str, self.labels))}"

    def check(self, facts: Facts) -> None:
        """The classes must exist, and two others."""
        _check(self, self.labels, facts.classes)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions in the order of the training data."""
        forgotten = np.isin(training.labels, self.labels)
        return np.flatnonzero(~forgotten), np.flatnonzero(forgotten)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The classes."""
        return self.labels


def _check(scenario: object, labels: tuple[int, ...], classes: int) -> None:
    if max(labels) >= classes:
        named = "the class" if len(labels) == 1 else "each class"
        raise InvalidScenario(f"'{scenario}': {named} must lie between 0 and {classes - 1}")
    if classes - len(labels) < KEPT:
        left = classes - len(labels)
        raise InvalidScenario(f"'{scenario}': it leaves {left} of {classes} classes; at least {KEPT} must be left")
