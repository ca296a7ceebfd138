"""The contract of a scenario: how the forget set is drawn from the training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness.contracts.catalog import Catalog, first_line, snake_case
from harness.contracts.dataset import Images
from harness.contracts.run import TrainingArtifact
from harness.errors import HarnessError

Positions = NDArray[np.int64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class InvalidScenario(HarnessError):
    """A scenario that cannot be read, or that a data set cannot serve."""


@dataclass(frozen=True)
class Facts:
    """What is known of the training data before any file is read: how many classes, subclasses (0: none), images.

    `size` are the pixels of the shorter side of an image; 0: not known.
    """

    classes: int
    images: int
    subclasses: int = 0
    size: int = 0


class Answers(Protocol):
    """What one model says about the n training images, in their order, without augmentation."""

    @property
    def correct(self) -> Mask:
        """Which images it gets right, [n]."""

    @property
    def losses(self) -> Floats:
        """Cross-entropies in nats, [n]."""

    @property
    def features(self) -> Floats:
        """What its head is given, [n, d]."""


Models = Callable[[TrainingArtifact | None], Answers]
"""Answers for a model that a scenario named in its `evidence`."""


@dataclass(frozen=True)
class Training:
    """The training data as a scenario sees it: labels [n], and labels of subclasses [n] where the data set has them.

    `tampered` [n] says which images were tampered with; None: none was. `models` are there for a scenario that names
    any in its `evidence`, and where its images are divided.
    """

    labels: Labels
    fine: Labels | None = None
    tampered: Mask | None = None
    models: Models | None = None

    def at(self, index: Positions) -> Training:
        """Return the training data at an index [m] of these images."""
        fine = None if self.fine is None else self.fine[index]
        return Training(self.labels[index], fine, None if self.tampered is None else self.tampered[index])


@dataclass(frozen=True)
class Tampered:
    """A data set whose training images were tampered with: all its images, and which of them [n] are not as before."""

    images: Images
    mask: Mask


class Tampering(Protocol):
    """What is done to training data before anything is trained on it; `str()` of it is its text: `poison:100`.

    The text is all of it that the ids of originals have: who changes what it does must change the text, too.
    """

    def tamper(self, images: Images, train: Positions) -> Tampered:
        """Return the data set with the training images at `train` tampered with, always in the same way.

        No other image changes, and the given arrays are left alone. Raises `InvalidScenario` where there are too few.
        """

    def exam(self, images: Images, test: Positions) -> Images:
        """Return the images, made of the untouched data set's test images, that show whether a model fell for it.

        Their labels are the true ones.
        """

    def numbers(self, labels: Labels, answers: Labels) -> Mapping[tuple[str, str], float]:
        """Return what the answers [m] of a model to the exam's images with labels [m] say, by part and metric."""


class Scenario(Protocol):
    """A parsed scenario such as `random:0.1`; `str()` of it is its canonical text.

    A class may also have

    * `each(classes) -> Iterable[str]`: the arguments that `*` stands for on a data set.
    * `stands_for(classes) -> Sequence[str]`, of an instance: the scenarios that it is another name of on a data set.
      Then it needs neither `divide` nor `forget_classes`.
    * `forget_subclasses`, a tuple: the ids of the subclasses that the request names.
    * `within`, a tuple: the classes that the forget set is drawn from, where it is not all of them.
    * `tampering`, a `Tampering`, with a static `tampering_of(argument) -> Tampering`: the scenario is about training
      data that was tampered with so. Its argument is the text behind the first colon of the tampering's.
    * `caution`: a sentence that has to be said wherever its numbers are shown.
    * `evidence() -> Sequence[TrainingArtifact | None]`, of an instance: models without which its images cannot be
      divided, each of seed 0 for all seeds; None is the original. An artifact is here a network of the architecture
      with trained weights. `divide` asks `training.models` for what they answer.
    * `follows`, a text: the request before this one, whose models methods start from instead of the original; empty:
      there is none. Then also `earlier(training) -> Positions`: what requests before this one have forgotten, which is
      in neither part and lent to no method.
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


def forgotten_before(scenario: Scenario, training: Training) -> Positions:
    """Return the positions within the training data that earlier requests have forgotten; none for most scenarios."""
    earlier: Callable[[Training], Positions] | None = getattr(scenario, "earlier", None)
    return np.empty(0, dtype=np.int64) if earlier is None else earlier(training)


def asked_for(scenario: Scenario, training: Training) -> Mask | None:
    """Return which images [n] are of the classes or subclasses that the request names; None where it names none."""
    if scenario.forget_classes:
        return np.isin(training.labels, scenario.forget_classes)
    subclasses = getattr(scenario, "forget_subclasses", ())
    if subclasses and training.fine is not None:
        return np.isin(training.fine, subclasses)
    return None


def alike(scenario: Scenario, training: Training) -> Mask | None:
    """Return which images [n] are of the kind of the forget set; None: any is.

    An attack compares the forget set with held-out images of its kind: else class difficulty would pass for membership.
    """
    within = getattr(scenario, "within", ())
    return np.isin(training.labels, within) if within else asked_for(scenario, training)


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
