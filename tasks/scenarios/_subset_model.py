"""Models trained on random parts of the training data: what is known of an image by having seen it, and without."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts import RETAIN, Build, ImageFormat, Run, View, artifact, fixed
from harness.contracts.scenario import Floats, Mask
from harness.engine.seeding import derive
from harness.engine.train import train

SHARE = 0.7
"""Of the training images that a model is trained on."""


@artifact(
    reads={RETAIN},
    of="training",
    source="Feldman and Zhang 2020, arXiv 2008.03703; that each image is in equally many of the models is ours",
)
class SubsetModel:
    """Model `number` of `of`, trained by the recipe on about `share` of the training images."""

    number: int = fixed(0)
    of: int = fixed(32, least=2)
    share: float = fixed(SHARE, most=1)

    def network(self, images: ImageFormat, build: Build) -> nn.Module:
        """Return an untrained model, another one for each number."""
        return build(f"subset {self.number}")

    def make(self, network: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after training."""
        own = np.flatnonzero(membership(len(data.retain), self.of, self.share)[self.number])
        return train(network, data.retain.take(torch.from_numpy(own)), run.recipe, run)


def left_out(models: int, share: float = SHARE) -> int:
    """Return how many of the models an image is not in."""
    return round((1 - share) * models)


def membership(count: int, models: int, share: float = SHARE) -> Mask:
    """Return which models [K, n] have which of n training images: of each image all but `left_out`, drawn evenly."""
    rng = np.random.Generator(np.random.PCG64(derive("subset models", count, models)))
    inside = np.tile(np.arange(models) >= left_out(models, share), (count, 1))
    return rng.permuted(inside, axis=1).T


def memorisation(correct: Mask, inside: Mask) -> tuple[Floats, Floats]:
    """Return the memorisation score of each image [n], and its standard error [n].

    P[correct | in] - P[correct | out] over models [K, n]: 1 where models know an image only if they were trained on it,
    0 where that makes no difference. The error is that of two independent shares; 0 where both are 0 or 1.
    """
    score, variance = np.zeros(correct.shape[1]), np.zeros(correct.shape[1])
    for sign, own in ((1, inside), (-1, ~inside)):
        models = own.sum(0)
        right: NDArray[np.float64] = (correct & own).sum(0) / models
        score, variance = score + sign * right, variance + right * (1 - right) / models
    return score, np.sqrt(variance)


def fewest_models(least: int, share: float = SHARE) -> int:
    """Return of how many models each image is in `least`, and out of as many."""
    return next(
        models for models in range(2 * least, 100 * least) if least <= left_out(models, share) <= models - least
    )
