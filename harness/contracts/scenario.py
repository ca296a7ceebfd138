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


class InvalidScenario(HarnessError):
    """A scenario that cannot be read, or that a data set cannot serve."""


class Scenario(Protocol):
    """A parsed scenario such as `random:0.1`; `str()` of it is its canonical text.

    A class may also have `each(classes) -> Iterable[str]`: the arguments that `*` stands for on a data set.
    """

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read the text behind the colon, or raise `InvalidScenario` with what would be right."""

    def check(self, classes: int, training: int) -> None:
        """Raise `InvalidScenario` where a data set with so many classes and training images cannot serve it."""

    def divide(self, labels: NDArray[np.int64]) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions within the training data, given its labels [n] int64."""

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """The class ids that the request names; empty where the forget set is not a set of classes."""


@dataclass(frozen=True)
class ScenarioSpec:
    """A declared scenario."""

    name: str
    cls: type[Any]
    example: str
    version: int

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


def scenario(*, example: str, version: int = 1, name: str | None = None) -> Callable[[type[Any]], type[Any]]:
    """Declare a class as a scenario; its name is the class name in snake case unless given."""

    def declare(cls: type[Any]) -> type[Any]:
        SCENARIOS.declare(ScenarioSpec(name or snake_case(cls.__name__), cls, example, version))
        return cls

    return declare
