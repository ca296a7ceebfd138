"""Forget sets by how hard images are: by what trained models say of them.

Source: Zhao et al. 2024, arXiv 2406.01257, for memorisation and entanglement; the loss as in MUBox. Ours: shares of the
training data instead of counts, ties by position, 15 groups on every data set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from harness.contracts import TrainingArtifact, scenario
from harness.contracts.scenario import Facts, Floats, InvalidScenario, Models, Positions, Training
from tasks.scenarios._read import is_id, share, written
from tasks.scenarios._subset_model import SHARE, SubsetModel, fewest_models, membership, memorisation

LEAST = 8
"""Models that an image must be in, and out of."""
MODELS, MOST = 32, 1000
"""How many there are if nobody says, and at most: each is trained from scratch."""
GROUPS = 15
"""Equal parts of the training data, ordered by the distance to the centroid."""
GROUP_OF = {"low": 3, "mid": 12, "high": 14}
"""Which of them, from 1, is how entangled."""


@dataclass(frozen=True)
class _ByModels:
    """A share of the training images at one level of a score."""

    level: str
    fraction: float

    def check(self, facts: Facts) -> None:
        """Something must be left to retain."""
        if self.size(facts.images) >= facts.images:
            raise InvalidScenario(f"'{self}': nothing of {facts.images} training images is left to retain")

    def size(self, images: int) -> int:
        """Return how many images are forgotten: the share, rounded up."""
        return math.ceil(self.fraction * images)

    @property
    def forget_classes(self) -> tuple[int, ...]:
        """None: the forget set holds images of any class."""
        return ()


def _parse(name: str, levels: tuple[str, ...], argument: str, example: str) -> tuple[str, float]:
    level, _, fraction = argument.partition(":")
    if level not in levels or not 0 < share(fraction) < 1:
        raise InvalidScenario(
            f"'{name}:{argument}': it takes {', '.join(levels[:-1])} or {levels[-1]}, and the share of the training "
            f"images, between 0 and 1, such as {example}"
        )
    return level, share(fraction)


def _asked(scenario: object, training: Training) -> Models:
    if training.models is None:
        raise InvalidScenario(f"'{scenario}': its images are drawn by trained models, and there are none to ask")
    return training.models


def _divided(count: int, forget: Positions) -> tuple[Positions, Positions]:
    return np.setdiff1d(np.arange(count), forget), np.sort(forget).astype(np.int64)


def lowest(score: Floats, count: int) -> Positions:
    """Return the positions of the `count` lowest scores; of equal ones the first."""
    return np.argsort(score, kind="stable")[:count]


@scenario(example="memorised:high:0.02", like="random")
@dataclass(frozen=True)
class Memorised(_ByModels):
    """The images that models know only if they were trained on them (high), know anyway (low), or in between (mid).

    The score of an image is the share of models that get it right among those trained on it, less that among those
    that were not; mid is nearest to 0.5, and mixed a third of each, none twice. 32 models, or as many as a third part
    of the argument says, each trained on about 70 % of the training data, by the recipe, once for all scenarios, seeds
    and methods. With so few a score has a standard error of up to 0.2: the sets differ in their means, and single
    images may be in the wrong one.
    """

    models: int = MODELS

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read high, mid, low or mixed, a share, and how many models, if not 32."""
        level, fraction, models = [*argument.split(":", 2), "", ""][:3]
        read = _parse("memorised", ("high", "mid", "low", "mixed"), f"{level}:{fraction}", "memorised:high:0.02")
        least = fewest_models(LEAST)
        if models and not (is_id(models) and least <= int(models) <= MOST):
            raise InvalidScenario(
                f"'memorised:{argument}': it takes {least} models at least, so that each image is left out of {LEAST}, "
                f"and {MOST} at most, such as memorised:high:0.02:{MODELS}"
            )
        return cls(*read, int(models or MODELS))

    def __str__(self) -> str:
        models = "" if self.models == MODELS else f":{self.models}"
        return f"memorised:{self.level}:{written(self.fraction)}{models}"

    def evidence(self) -> tuple[TrainingArtifact, ...]:
        """Return the models."""
        return tuple(SubsetModel(number=number, of=self.models, share=SHARE) for number in range(self.models))

    def scores(self, training: Training) -> tuple[Floats, Floats]:
        """Return the memorisation score of each training image [n], and its standard error [n]."""
        models = _asked(self, training)
        correct = np.array([models(one).correct for one in self.evidence()])
        return memorisation(correct, membership(len(training.labels), self.models))

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): the highest or lowest scores, those nearest to 0.5, or a third of each."""
        score, _ = self.scores(training)
        orders = {"high": -score, "low": score, "mid": np.abs(score - 0.5)}
        asked = [*orders] if self.level == "mixed" else [self.level]
        forget = np.empty(0, dtype=np.int64)
        for left, level in zip(range(len(asked), 0, -1), asked, strict=True):
            open_to = np.setdiff1d(np.arange(len(score)), forget)
            count = (self.size(len(score)) - len(forget)) // left
            forget = np.append(forget, open_to[lowest(orders[level][open_to], count)])
        return _divided(len(score), forget)


@scenario(example="entangled:high:0.02", like="random")
@dataclass(frozen=True)
class Entangled(_ByModels):
    """Images whose features lie near the centre of all (low), or far out (mid, high), by the original of seed 0.

    The training images in the order of the distance of their penultimate features to the mean of all, cut into 15 equal
    groups: the nearest of the 3rd, 12th and 14th. How entangled a forget set is in the end, its numbers say.
    """

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read high, mid or low, and a share."""
        return cls(*_parse("entangled", ("high", "mid", "low"), argument, "entangled:high:0.02"))

    def __str__(self) -> str:
        return f"entangled:{self.level}:{written(self.fraction)}"

    def check(self, facts: Facts) -> None:
        """A group must have so many images."""
        if self.size(facts.images) > facts.images // GROUPS:
            raise InvalidScenario(
                f"'{self}': {self.size(facts.images)} images are more than a {GROUPS}th of {facts.images}; "
                "take a smaller share, such as 0.02"
            )

    def evidence(self) -> tuple[None]:
        """Return the original."""
        return (None,)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget): the first images of a group."""
        features = _asked(self, training)(None).features
        distances = np.linalg.norm(features - features.mean(0), axis=1)
        groups = np.array_split(lowest(distances, len(distances)), GROUPS)
        return _divided(len(distances), groups[GROUP_OF[self.level] - 1][: self.size(len(distances))])


@scenario(example="loss:high:0.02", like="random")
@dataclass(frozen=True)
class Loss(_ByModels):
    """The images of highest or of lowest loss under the original of seed 0.

    Low ones are known best: MUBox calls that the worst case, since so much of it can be left, and high the best.
    """

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Read high or low, and a share."""
        return cls(*_parse("loss", ("high", "low"), argument, "loss:high:0.02"))

    def __str__(self) -> str:
        return f"loss:{self.level}:{written(self.fraction)}"

    def evidence(self) -> tuple[None]:
        """Return the original."""
        return (None,)

    def divide(self, training: Training) -> tuple[Positions, Positions]:
        """Return (retain, forget)."""
        losses = _asked(self, training)(None).losses
        return _divided(len(losses), lowest(losses if self.level == "low" else -losses, self.size(len(losses))))
