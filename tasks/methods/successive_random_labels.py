"""Training on with random labels for the forget part."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from harness.contracts import FORGET, REFERENCE, RETAIN, Run, View, method, ranges, variants

RELEASED_SEED = 123
"""What the released code seeds its labels with, in every epoch and whatever the seed of the run."""


@method(reads={RETAIN, FORGET}, source="Graves et al. 2021, AAAI; Hayase et al. 2020, arXiv 2012.01922")
class SuccessiveRandomLabels:
    """Train on retain and forget together; each epoch gives every forget image a new uniform random label.

    Under `reference` every epoch has one and the same sequence of labels, which the forget images take in the order
    in which they come up.
    """

    lr: float = ranges.learning_rate(0.1)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(5)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the relabelled model; a random label may be the true one."""
        return train_on_random_labels(
            model,
            data,
            SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay),
            run,
            epochs=self.epochs,
            batch_size=self.batch_size,
            released=self.variant == REFERENCE,
        )


def train_on_random_labels(
    model: nn.Module,
    data: View,
    optimizer: Optimizer,
    run: Run,
    *,
    epochs: int,
    batch_size: int,
    released: bool = False,
    edit_gradients: Callable[[], None] | None = None,
) -> nn.Module:
    """Minimise the cross-entropy of retain and of forget under random labels, in train mode; return the model.

    `released` draws the labels as the released code does; `edit_gradients` runs before every optimiser step.
    """
    relabelled = repeated_labels if released else fresh_labels
    model.train()
    for _ in run.epochs(epochs, model, optimizer):
        for images, targets in relabelled(data, batch_size, run):
            run.step(optimizer, cross_entropy(model(images), targets), edit_gradients)
    return model


def fresh_labels(data: View, batch_size: int, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and targets of one pass; the labels of forget are drawn by the run's generator."""
    both, kept = data.retain_and_forget, len(data.retain)
    random = torch.randint(data.classes, (len(both) - kept,), generator=run.generator)
    targets = torch.cat([both.labels[:kept], random.to(run.device)])
    for images, _, index in both.batches(batch_size):
        yield images, targets[index]


def repeated_labels(data: View, batch_size: int, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and targets of one pass; forget images take the labels of a fixed sequence as they come up."""
    both, kept = data.retain_and_forget, len(data.retain)
    sequence = np.random.default_rng(RELEASED_SEED).integers(data.classes, size=len(both) - kept)
    unused = torch.from_numpy(sequence).to(run.device)
    for images, labels, index in both.batches(batch_size):
        forget = index >= kept
        yield images, labels.masked_scatter(forget, unused)
        unused = unused[int(forget.sum()) :]
