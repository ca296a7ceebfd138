"""Forget one random share after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario, Positions, Training
from harness.engine.split import shuffled_split
from tasks.scenarios._read import is_id, share, written

MOST = 1000
"""Requests of one sequence: each is a cell of its own."""


@scenario(example="sequence:5:0.02", like="random")
@dataclass(frozen=True)
class Sequence:
    """Requests one after the other, each for a random share; a method starts from its own model of the one before.

    In a study `sequence:5:0.02` stands for five requests of 2 % each, `sequence:1:0.02` to `sequence:5:0.02`: each is a
    cell of its own, the state after so many requests, so that a longer sequence adds cells and changes none. The shares
    are slices of the permutation whose first part `random` forgets.
    """

    number: int
    fraction: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read how many requests, from 1, and the share of the training images that each is for."""
        number, _, fraction = argument.partition(":")
        if not (is_id(number) and 0 < int(number) <= MOST and 0 < share(fraction) < 1):
            raise InvalidScenario(
                f"'sequence:{argument}': it takes a number of requests, from 1 to {MOST}, and the share of each, "
                "between 0 and 1, such as sequence:5:0.02"
            )
        return cls(int(number), share(fraction))

    def __str__(self) -> str:
        return f"sequence:{self.number}:{written(self.fraction)}"

    def stands_for(self, classes: int) -> list[str]:
        """Return the requests up to this one; the number of classes is no matter."""
        return [str(replace(self, number=number)) for number in range(1, self.number + 1)]

    def check(self, facts: Facts) -> None:
        """Something must be left to retain after the last request."""
        if self.number * math.ceil(self.fraction * facts.images) >= facts.images:
            raise InvalidScenario(f"'{self}': nothing of {facts.images} training images is left to retain")

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): forget is the slice of this request; earlier ones are in neither."""
        order, size = self._order(training)
        done = self.number * size
        return order[done:], order[done - size : done]

    def earlier(self, training: Training) -> Positions:
        """Return what the requests before this one have forgotten."""
        order, size = self._order(training)
        return order[: (self.number - 1) * size]

    @property
    def follows(self) -> str:
        """The request before; empty for the first."""
        return str(replace(self, number=self.number - 1)) if self.number > 1 else ""

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: the forget set holds images of every class."""
        return ()

    def _order(self, training: Training) -> tuple[Positions, int]:
        """Return the permutation of all positions, and how many of them each request takes."""
        rest, first = shuffled_split(len(training.labels), self.fraction)
        return np.concatenate([first, rest]), len(first)
