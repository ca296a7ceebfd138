"""What a few images, or a little noise on the weights, bring back of what a model was made to forget.

Forgetting that these undo was hidden, not done. Source of the curve: Siddiqui et al. 2025, arXiv 2505.22310; the
optimiser, its rate and its steps are this harness's. At the rate of 1e-5 given there, ten such steps of SGD with
momentum move the weights but no accuracy: tried on digits with cnn_small and half of a forget set shown, at most 0.4 %
of the weights' norm and 0 points, also where gradient ascent had only hidden a class that a tenth of the recipe's rate
brings back whole. All work is on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.engine.data import DeviceData
from harness.engine.evaluate import evaluating
from harness.engine.run import TrainingRun
from harness.engine.train import optimizer_of

STEPS, SLOWER = 10, 10
"""Full-batch steps on the few images, at the recipe's learning rate divided by this."""

NOISE, DRAWS = 0.05, 10
"""Noise on each weight tensor, relative to its norm, and how often it is drawn."""


def possible(shots: Sequence[int], images: int) -> list[int]:
    """Return the numbers of shots that leave at least as many of so many images unused."""
    return [count for count in shots if 2 * count <= images]


def divided(index: Tensor, shots: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the images [m] that may be shown, the first ones for fewer shots, and those [n - m] that never are."""
    order = torch.randperm(len(index), generator=generator).to(index.device)
    most = max(possible(shots, len(index)), default=0)
    return index[order[:most]], index[order[most:]]


def relearned(model: nn.Module, data: DeviceData, shown: Tensor, run: TrainingRun) -> nn.Module:
    """Return a copy of a model after `STEPS` steps on the images at `shown` [k], all in one batch.

    In evaluation mode, without augmentation and weight decay: statistics of a few images would spoil BatchNorm whatever
    the model knows, and nothing depends on an order.
    """
    learner = copy.deepcopy(model)
    if not len(shown):
        return learner
    recipe = replace(run.recipe, lr=run.recipe.lr / SLOWER, weight_decay=0.0)
    optimizer, images, labels = optimizer_of(learner, recipe), data.batch(shown), data.labels[shown]
    with evaluating(learner):
        for _ in range(STEPS):
            run.step(optimizer, cross_entropy(learner(images), labels))
    return learner


def shaken(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy of a model with normal noise on each parameter tensor, of `NOISE` times its root mean square."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weights in other.parameters():
            drawn = torch.randn(weights.shape, generator=generator).to(weights.device)
            weights.add_(NOISE * weights.square().mean().sqrt() * drawn)
    return other
