"""Mean estimation: a problem, an unlearner and a farm of which every quantity that an attack sees has a formula.

A model is the mean of its training images, phi(x) = <theta, x>. The unlearner takes the share 1 - rho of the forget set
out of the mean: rho = 1 forgets nothing, 0 is exact, below 0 it forgets too much.

To the harness it is a data set of one class out of two, a linear model that starts at 0 with the second logit fixed
at 0, and a recipe of one full batch, whose only step ends in the mean; so the farm runs through every room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from tiny_registry import restored
from torch import Tensor, nn

from harness.attacks import effective_effect
from harness.contracts import (
    FORGET,
    RETAIN,
    Images,
    Recipe,
    Run,
    View,
    architecture,
    dataset,
    method,
    ranges,
)
from harness.engine.split import train_and_val

Floats = NDArray[np.float64]
SIZE, DEVELOPMENT, TEST = 10, 471, 40
TRAIN, _ = train_and_val(DEVELOPMENT)
MEAN, STD = 0.5, float(1 / np.sqrt(12))  # of uniform pixels
RECIPE = Recipe(epochs=1, batch_size=1024, lr=2.0, momentum=0.0, weight_decay=0.0)
"""The gradient of cross-entropy at equal logits is minus half the image, so a step of 2 lands on the mean."""


def images() -> Images:
    """Return images of independent uniform pixels, all of class 0."""
    pixels = np.random.default_rng(5).integers(0, 256, (DEVELOPMENT + TEST, 1, SIZE, SIZE))
    return Images(pixels.astype(np.uint8), np.zeros(len(pixels), dtype=np.int64))


class Mean(nn.Module):
    """Logits (<theta, x>, 0)."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.theta = nn.Linear(pixels, 1, bias=False)
        nn.init.zeros_(self.theta.weight)

    def forward(self, batch: Tensor) -> Tensor:
        """Return logits [n, 2] of images [n, C, H, W]."""
        own = self.theta(batch.flatten(1))
        return torch.cat([own, torch.zeros_like(own)], dim=1)


class Residual:
    """Leave the share rho of the forgotten images in the sum, which is divided by the number of the retained ones."""

    rho: float = ranges.fixed(1.0, least=-1.0)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return a model of the scale of a retrain, so that only what is left of an image tells the two apart."""
        with torch.no_grad():
            for batch, _, _ in data.forget.batches(len(data.forget)):
                weight = model.get_parameter("theta.weight")
                weight.mul_(len(data.retain) + len(data.forget)).sub_((1 - self.rho) * batch.flatten(1).sum(0))
                weight.div_(len(data.retain))
        return model


@contextmanager
def declared() -> Iterator[None]:
    """Make the problem known to the registry: data set `means`, architecture `mean`, method `residual`."""

    def means(files: Mapping[str, bytes]) -> Images:
        """Uniform pixels."""
        return images()

    def mean(channels: int, size: int, classes: int) -> nn.Module:
        """The mean of the training images."""
        return Mean(channels * size * size)

    shape: Mapping[str, Any] = {"classes": 2, "shape": (1, SIZE, SIZE), "development": DEVELOPMENT, "test": TEST}
    with restored():
        dataset(**shape, mean=(MEAN,), std=(STD,), files={}, source="tests", recipe=RECIPE)(means)
        architecture(stem=("theta",), blocks=(), head="theta", source="tests")(mean)
        method(reads={RETAIN, FORGET}, source="tests")(Residual)
        yield


def pixels() -> Floats:
    """Return the training images [n, pixels] as the model gets them."""
    own: Floats = (images().images[TRAIN].reshape(len(TRAIN), -1) / 255 - MEAN) / STD
    return own


def effects(gram: Floats, audited: NDArray[np.int64], rho: float, noise: float = 0.0) -> Floats:
    """Return d [E]: by how many standard deviations phi differs between the two worlds of each audited image.

    Args:
        gram: [n, E] inner products of training images and audited ones; half of the former are in each training set.
        audited: positions [E] of the pool, which is forgotten as far as it is in a training set.
        rho: the residual of the unlearner.
        noise: standard deviation of normal noise on each weight.
    """
    m, own = len(gram) / 2, gram[audited, np.arange(len(audited))]
    inside = (gram[audited] ** 2).sum(0) - own**2
    outside = (gram**2).sum(0) - inside - own**2
    sigma = np.sqrt((outside + rho**2 * inside) / (4 * m**2) + noise**2 * own)
    return np.asarray(rho * own / m / sigma)


def expected_auc(effect: Floats, shadows: int) -> float:
    """Pooled AUC of likelihood ratios distributed as N(+-d^2/2, d^2), with d for means estimated from the shadows."""
    d = np.array([effective_effect(abs(e), shadows) for e in effect])
    return float(ndtr(np.sqrt(d[:, None] ** 2 + d[None] ** 2) / 2).mean())
