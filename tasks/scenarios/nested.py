"""Forget more and more classes, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario
from harness.engine.split import drawn
from tasks.scenarios._read import is_id
from tasks.scenarios.class_ import KEPT


@scenario(example="nested:3", like="classes")
@dataclass(frozen=True)
class Nested:
    """The first classes of one seeded permutation: the forget set of nested:2 lies within that of nested:3.

    On a data set it stands for those classes: for `classes:0,3,5`, and `nested:1` for `class:5`, say.
    """

    count: int

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read how many classes, a whole number from 1."""
        if not (is_id(argument) and int(argument)):
            raise InvalidScenario(f"'nested:{argument}': it takes a number of classes, from 1, such as nested:3")
        return cls(int(argument))

    def __str__(self) -> str:
        return f"nested:{self.count}"

    def check(self, facts: Facts) -> None:
        """Two other classes must be left."""
        if facts.classes - self.count < KEPT:
            raise InvalidScenario(
                f"'{self}': of {facts.classes} classes at most {facts.classes - KEPT} can be forgotten, "
                f"since {KEPT} must be left"
            )

    def stands_for(self, classes: int) -> list[str]:
        """Return the one scenario that names the classes."""
        self.check(Facts(classes, 0))
        labels = drawn(np.arange(classes), self.count).tolist()
        return [f"{'class' if self.count == 1 else 'classes'}:{','.join(map(str, labels))}"]
