"""Amnesiac unlearning in its relabelling form: forget images get one wrong label each, for good."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from harness.contracts import FORGET, RETAIN, Run, View, method, ranges
from tasks.methods._labels import other_classes


@method(reads={RETAIN, FORGET}, source="Graves et al. 2021, AAAI, arXiv 2010.10981, relabelling form")
class Amnesiac:
    """Train on retain and forget together, after each forget image got one random wrong label.

    The label is drawn once, evenly among the classes that are neither the image's own nor in the request; Adam, the
    model in train mode. In `successive_random_labels` every epoch draws anew, and the true label may come up.
    """

    lr: float = ranges.learning_rate(1e-4)
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(3)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the relabelled model; raises `NoClassLeft`."""
        both = data.retain_and_forget
        targets = torch.cat([data.retain.labels, wrong_labels(data, run.generator)])
        optimizer = Adam(model.parameters(), self.lr)
        model.train()
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, _, positions in both.batches(self.batch_size):
                run.step(optimizer, cross_entropy(model(images), targets[positions]))
        return model


def wrong_labels(data: View, generator: torch.Generator) -> Tensor:
    """Return a label [n] for every forget image, drawn evenly among the classes open to it."""
    is_open = other_classes(data)
    keys = torch.rand(is_open.shape, generator=generator)  # whose key is the largest is drawn evenly
    return keys.masked_fill(~is_open.cpu(), -1).argmax(1).to(is_open.device)
