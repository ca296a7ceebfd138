"""A new linear head on fixed features: what a model's body still tells apart, whatever its own head says.

After knowledge retention (Lee et al. 2025, ESC, arXiv 2504.02199): the body is frozen in evaluation mode, a new Xavier
head is trained on all training images, those to forget included. Features are divided by their root mean square, so
that a step means the same on every model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.engine.data import batch_bounds
from harness.engine.run import TrainingRun

EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 10, 64, 1e-3, 0.9
LEAST_STEPS = 500
"""A small data set has too few batches in as many epochs: it gets more of them, as in relearning."""


def scale_of(features: Tensor) -> float:
    """Return the root mean square of features [n, d], 1 where all are 0 or there are none."""
    size = float(features.double().square().mean().sqrt()) if features.numel() else 0.0
    return size if size > 0 else 1.0


def train_head(
    features: Tensor, labels: Tensor, classes: int, generator: torch.Generator, run: TrainingRun
) -> nn.Linear:
    """Return a head trained on features [n, d] and labels [n] by SGD; the generator draws first weights and order."""
    head = nn.Linear(features.shape[1], classes, device=features.device)
    bound = math.sqrt(6 / (features.shape[1] + classes))
    with torch.no_grad():
        head.weight.copy_((2 * torch.rand(head.weight.shape, generator=generator) - 1) * bound)
        head.bias.zero_()
    optimizer = SGD(head.parameters(), LEARNING_RATE, MOMENTUM)
    bounds = list(batch_bounds(len(features), BATCH_SIZE))
    for _ in range(max(EPOCHS, math.ceil(LEAST_STEPS / max(1, len(bounds))))):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for start, stop in bounds:
            chosen = order[start:stop]
            run.step(optimizer, cross_entropy(head(features[chosen]), labels[chosen]))
    return head


def shots_of_each(labels: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """Return the positions of so many images of each class, drawn; of all where a class has fewer."""
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    mixed = labels[order]
    picked = [order[(mixed == one).nonzero()[:shots, 0]] for one in torch.unique(mixed)]
    return torch.cat(picked) if picked else order


def accuracy_of(head: nn.Linear, features: Tensor, labels: Tensor) -> float:
    """Return the accuracy of a head on features [n, d]; NaN for none."""
    with torch.no_grad():
        found = (head(features).argmax(1) == labels).double().mean()
    return float(found)
