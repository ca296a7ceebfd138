"""Descent on the retain part and ascent on the forget part, together."""

from __future__ import annotations

from itertools import cycle

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import (
    FORGET,
    RETAIN,
    Run,
    View,
    choice,
    fixed,
    integer,
    log_uniform,
    method,
    share_of_training,
    uniform,
)


@method(reads={RETAIN, FORGET}, source="Kurmanji et al. 2023, NeurIPS, baseline NegGrad+")
class NegGradPlus:
    """Descend on alpha * CE(retain) - (1 - alpha) * CE(forget), with BatchNorm statistics frozen."""

    lr: float = log_uniform(1e-5, 1e-1, default=0.01)
    momentum: float = fixed(0.9, most=1)
    weight_decay: float = log_uniform(1e-5, 1e-1, default=0.0)
    batch_size: int = choice(64, 128, 256, default=256)
    epochs: int = integer(1, share_of_training(0.2), default=10)
    alpha: float = uniform(0, 1, default=0.95)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after `epochs` passes over retain; forget batches are replayed within an epoch."""
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        model.eval()
        for _ in run.epochs(self.epochs, model, optimizer):
            forget = cycle(data.forget.batches(self.batch_size))
            for images, labels, _ in data.retain.batches(self.batch_size):
                kept = cross_entropy(model(images), labels)
                images, labels, _ = next(forget)
                forgotten = cross_entropy(model(images), labels)
                run.step(optimizer, self.alpha * kept - (1 - self.alpha) * forgotten)
        return model
