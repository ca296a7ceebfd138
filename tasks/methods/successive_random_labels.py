"""Training on with random labels for the forget part."""

from __future__ import annotations

import torch
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
)


@method(reads={RETAIN, FORGET}, source="Graves et al. 2021, AAAI; Hayase et al. 2020, arXiv 2012.01922")
class SuccessiveRandomLabels:
    """Train on retain and forget together; each epoch gives every forget image a new uniform random label."""

    lr: float = log_uniform(1e-5, 1e-1, default=0.1)
    momentum: float = fixed(0.9, most=1)
    weight_decay: float = log_uniform(1e-5, 1e-1, default=5e-4)
    batch_size: int = choice(64, 128, 256, default=256)
    epochs: int = integer(1, share_of_training(0.2), default=5)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the relabelled model; a random label may be the true one."""
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        both = data.retain_and_forget
        kept = len(data.retain)
        model.train()
        for _ in run.epochs(self.epochs, model, optimizer):
            random = torch.randint(data.classes, (len(both) - kept,), generator=run.generator)
            targets = torch.cat([both.labels[:kept], random.to(run.device)])
            for images, _, index in both.batches(self.batch_size):
                run.step(optimizer, cross_entropy(model(images), targets[index]))
        return model
