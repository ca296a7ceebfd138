"""The contract of a scenario: how the forget set is drawn from the training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness.contracts.catalog import Catalog, first_line, snake_case
from harness.errors import HarnessError

Positions = NDArray[np.int64]
Labels = NDArray[np.int64]


class InvalidScenario(HarnessError):
    """A scenario that cannot be read, or that a data set cannot serve."""


@dataclass(frozen=True)
class Facts:
    """What is known of the training data before any file is read: how many classes, subclasses (0: none), images."""

    classes: int
    images: int
    subclasses: int = 0


@dataclass(frozen=True)
class Training:
    """The training data as a scenario sees it: labels [n], and labels of subclasses [n] where the data set has them."""

    labels: Labels
    fine: Labels | None = None

    def at(self, index: Positions) -> Training:
        """Return the training data at an index [m] of these images."""
        return Training(self.labels[index], None if self.fine is None else self.fine[index])


class Scenario(Protocol):
    """A parsed scenario such as `random:0.1`; `str()` of it is its canonical text.

    A class may also have `each(classes) -> Iterable[str]`: the arguments that `*` stands for on a data set.
    """

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read the text behind the colon, or raise `InvalidScenario` with what would be right."""

    def check(self, facts: Facts) -> None:
        """Raise `InvalidScenario` where a data set cannot serve it."""

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions within the training data, together all of them unless it says why not."""

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The class ids that the request names; empty where the forget set is not a set of classes."""


@dataclass(frozen=True)
class ScenarioSpec:
    """A declared scenario; `like` names the one whose methods it takes, itself by default."""

    name: str
    cls: type[Any]
    example: str
    version: int
    like: str

    @property
    def module(self) -> str:
        """The module that declares it."""
        return str(self.cls.__module__)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return first_line(self.cls.__doc__)


SCENARIOS: Catalog[ScenarioSpec] = Catalog("scenario")
"""What is declared, by name."""


def scenario(
    *, example: str, version: int = 1, name: str | None = None, like: str = ""
) -> Callable[[type[Any]], type[Any]]:
    """Declare a class as a scenario; its name is the class name in snake case unless given.

    A method that supports the scenario `like` supports this one: to a method `random_in_class` is a random request.
    """

    def declare(cls: type[Any]) -> type[Any]:
        called = name or snake_case(cls.__name__)
        SCENARIOS.declare(ScenarioSpec(called, cls, example, version, like or called))
        return cls

    return declare
