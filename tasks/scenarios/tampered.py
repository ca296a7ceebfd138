"""Forget what is known of training data that was tampered with; the rest of it stays unknown, in retain.

Source: Goel et al. 2024, corrective unlearning, arXiv 2402.14015.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from harness.contracts import scenario
from harness.contracts.scenario import Facts, InvalidScenario, Positions, Scenario, Training
from harness.engine.split import drawn
from tasks.scenarios._read import is_id, share, written
from tasks.scenarios._tampering import PATCH, Poisoning, Swapping


@scenario(example="poison:100:0.1", like="random")
@dataclass(frozen=True)
class Poison:
    """So many training images carry a trigger and the label 0; the known share of them is to be forgotten.

    The others stay in retain. With `poison:100:1` all are known.
    """

    count: int
    share: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read how many images, and the known share of them in (0, 1]."""
        count, _, known = argument.partition(":")
        if not (is_id(count) and int(count) and 0 < share(known) <= 1):
            raise InvalidScenario(
                f"'poison:{argument}': it takes a number of manipulated images and the known share of them, above 0 "
                "and up to 1, such as poison:100:0.1"
            )
        return cls(int(count), share(known))

    def __str__(self) -> str:
        return f"{self.tampering}:{written(self.share)}"

    def check(self, facts: Facts) -> None:
        """There must be so many images, and room for the trigger."""
        if 0 < facts.size < PATCH:
            raise InvalidScenario(
                f"'{self}': no room for its trigger of {PATCH} x {PATCH} pixels in images of {facts.size}"
            )
        _check_count(self, self.count, facts)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): the known share of the poison is forgotten, the rest of it is retained."""
        return _divide(self, self.share, training)

    @property
    def tampering(self) -> Poisoning:
        """What is done to the training data, whatever is known of it."""
        return Poisoning(self.count)

    @staticmethod
    def tampering_of(argument: str) -> Poisoning:
        """Return the tampering of an argument such as `100`."""
        return Poisoning(int(argument))

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: the forget set holds images of every class, all called 0."""
        return ()

    @property
    def caution(self) -> str:
        """That retrain is no goal where poison is hidden from it."""
        return _caution(self, replace(self, share=1.0))


@scenario(example="swap:100:0,1:0.1", like="random")
@dataclass(frozen=True)
class Swap:
    """So many training images of two classes carry the label of the other; the known share is to be forgotten.

    `swap:100:0,1:0.1`: 50 images of class 0 and 50 of class 1, of which 10 are known. The others stay in retain.
    """

    count: int
    classes: tuple[int, int]
    share: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read how many images, the two classes in any order, and the known share in (0, 1]."""
        count, _, rest = argument.partition(":")
        pair, _, known = rest.partition(":")
        classes = sorted(int(one) for one in pair.split(",") if is_id(one))
        if not (is_id(count) and int(count) and len(classes) == pair.count(",") + 1 == 2 and 0 < share(known) <= 1):
            raise InvalidScenario(
                f"'swap:{argument}': it takes a number of manipulated images, two classes and the known share, above "
                "0 and up to 1, such as swap:100:0,1:0.1"
            )
        if classes[0] == classes[1]:
            raise InvalidScenario(f"'swap:{argument}': the two classes must differ, as in swap:100:0,1:0.1")
        if int(count) % 2:
            raise InvalidScenario(f"'swap:{argument}': half of the images are of each class, so {count} must be even")
        return cls(int(count), (classes[0], classes[1]), share(known))

    def __str__(self) -> str:
        return f"{self.tampering}:{written(self.share)}"

    def check(self, facts: Facts) -> None:
        """The classes must exist, and so many images."""
        if self.classes[1] >= facts.classes:
            raise InvalidScenario(f"'{self}': each class must lie between 0 and {facts.classes - 1}")
        _check_count(self, self.count, facts)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): the known share of what was swapped is forgotten, the rest of it is retained."""
        return _divide(self, self.share, training)

    @property
    def tampering(self) -> Swapping:
        """What is done to the training data, whatever is known of it."""
        return Swapping(self.count, self.classes)

    @staticmethod
    def tampering_of(argument: str) -> Swapping:
        """Return the tampering of an argument such as `100:0,1`."""
        count, _, pair = argument.partition(":")
        first, second = map(int, pair.split(","))
        return Swapping(int(count), (first, second))

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: most of the two classes is kept."""
        return ()

    @property
    def caution(self) -> str:
        """That retrain is no goal where swapped labels are hidden from it."""
        return _caution(self, replace(self, share=1.0))


def _check_count(scenario: Scenario, count: int, facts: Facts) -> None:
    if count >= facts.images:
        raise InvalidScenario(f"'{scenario}': it takes more than {count} training images, there are {facts.images}")


def _divide(scenario: Scenario, known: float, training: Training) -> tuple[Positions, Positions]:
    if training.tampered is None:
        raise InvalidScenario(f"'{scenario}': nobody has tampered with the training data")
    tampered = np.flatnonzero(training.tampered)
    forget = drawn(tampered, max(1, round(known * len(tampered))))
    return np.setdiff1d(np.arange(len(training.labels)), forget), forget


def _caution(scenario: Scenario, whole: Scenario) -> str:
    if scenario == whole:
        return ""
    return (
        f"On {scenario} retrain is no gold standard: it has trained on the manipulated images that nobody knows of. "
        f"The reference is the retrain of {whole}, which has seen none."
    )
