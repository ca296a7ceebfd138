"""Forget images of one class only: a random share of it, or one of its subclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario, Positions, Training
from harness.engine.split import drawn
from tasks.scenarios._read import is_id, share, written


@scenario(example="random_in_class:3:0.5", like="random")
@dataclass(frozen=True)
class RandomInClass:
    """A uniform random share of the training images of one class, never all of them; larger shares hold smaller ones.

    Source: MUBox tells random images of one class from random images of all classes.
    """

    label: int
    fraction: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read a class id and a fraction strictly between 0 and 1."""
        label, _, fraction = argument.partition(":")
        if not (is_id(label) and 0 < share(fraction) < 1):
            raise InvalidScenario(
                f"'random_in_class:{argument}': it takes a class and a share of it between 0 and 1, "
                "such as random_in_class:3:0.5"
            )
        return cls(int(label), share(fraction))

    def __str__(self) -> str:
        return f"random_in_class:{self.label}:{written(self.fraction)}"

    def check(self, facts: Facts) -> None:
        """The class must exist."""
        if self.label >= facts.classes:
            raise InvalidScenario(f"'{self}': the class must lie between 0 and {facts.classes - 1}")

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): of the n images of the class ceil(fraction x n) are forgotten, at most n - 1."""
        own = np.flatnonzero(training.labels == self.label)
        if len(own) < 2:
            raise InvalidScenario(f"'{self}': the training data has {len(own)} images of the class; it takes 2")
        forget = drawn(own, min(math.ceil(self.fraction * len(own)), len(own) - 1))
        return np.setdiff1d(np.arange(len(training.labels)), forget), forget

    @property
    def within(self) -> tuple[int, ...]:
        """The class: attacks compare with its held-out images."""
        return (self.label,)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: something of the class is kept."""
        return ()


@scenario(example="subclass:69", like="random")
@dataclass(frozen=True)
class Subclass:
    """All training images of one fine class within a coarse label, such as the rockets among CIFAR-20's vehicles.

    Labels stay coarse. Source: Foster et al. 2024, arXiv 2308.07707.
    """

    fine: int

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read the id of a subclass, a whole number from 0."""
        if not is_id(argument):
            raise InvalidScenario(
                f"'subclass:{argument}': the subclass must be a whole number from 0, such as subclass:69"
            )
        return cls(int(argument))

    def __str__(self) -> str:
        return f"subclass:{self.fine}"

    def check(self, facts: Facts) -> None:
        """There must be subclasses, and this one among them."""
        if not facts.subclasses:
            raise InvalidScenario(f"'{self}': it takes subclasses, as cifar20 has them; there are none")
        if self.fine >= facts.subclasses:
            raise InvalidScenario(f"'{self}': the subclass must lie between 0 and {facts.subclasses - 1}")

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget) positions in the order of the training data."""
        if training.fine is None:
            raise InvalidScenario(f"'{self}': the training data has no labels of subclasses")
        return np.flatnonzero(training.fine != self.fine), np.flatnonzero(training.fine == self.fine)

    @property
    def forget_subclasses(self) -> tuple[int, ...]:
        """The one subclass."""
        return (self.fine,)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: the other subclasses of its class are kept."""
        return ()

    @property
    def caution(self) -> str:
        """What the goal is."""
        return (
            f"On {self} the goal is what retrain answers on the forgotten subclass, which need not be near 0: its "
            "siblings still teach the class. Whoever is far below retrain has forgotten too much."
        )
