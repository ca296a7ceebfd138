"""FCS: the first-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from harness.contracts import FORGET, RETAIN, Run, View, log_uniform, method, ranges, variants
from harness.engine.losses import distillation

RETAIN_LR_BATCH = 64
"""The batch size that `retain_lr` is meant for; it grows in proportion to the batch."""


@method(reads={RETAIN, FORGET}, source="Triantafillou et al. 2024, arXiv 2406.09073, 1st place (kgltop1)")
class FCS:
    """Flatten the predictions on forget; then alternate a contrastive round over forget with training on retain.

    First one pass over forget with KL(uniform || softmax(logits)). Then in each epoch: a pass over forget batches, each
    beside a retain batch, with the mean of -log_softmax(Z_F Z_R^T / T) over the rows (Z: logits, Z_R without a
    gradient), its rate falling on a cosine to `eta_min`, step by step; and a pass over retain with the cross-entropy,
    at `retain_lr` x batch size / 64. Each of the three losses has its own optimiser.
    """

    lr: float = ranges.learning_rate(0.005)
    weight_decay: float = ranges.weight_decay(0.0)
    retain_lr: float = ranges.learning_rate(1e-3)
    retain_weight_decay: float = ranges.weight_decay(1e-2)
    forget_lr: float = ranges.learning_rate(3e-4)
    forget_weight_decay: float = ranges.weight_decay(0.0)
    momentum: float = ranges.momentum()
    temperature: float = ranges.temperature(1.15)
    eta_min: float = log_uniform(1e-6, 1e-1, default=1e-6)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(8)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after flattening and `epochs` pairs of rounds."""
        model.train()
        self._flatten(model, data, run)
        rate = self.retain_lr * self.batch_size / RETAIN_LR_BATCH
        retain = SGD(model.parameters(), rate, self.momentum, weight_decay=self.retain_weight_decay)
        forget = SGD(model.parameters(), self.forget_lr, self.momentum, weight_decay=self.forget_weight_decay)
        steps = math.ceil(len(data.forget) / self.batch_size) * self.epochs
        schedule = CosineAnnealingLR(forget, steps, self.eta_min)
        for _ in run.epochs(self.epochs, model, retain):
            self._contrast(model, data, run, forget, schedule)
            for images, labels, _ in data.retain.batches(self.batch_size):
                run.step(retain, cross_entropy(model(images), labels))
        return model

    def _flatten(self, model: nn.Module, data: View, run: Run) -> None:
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        for _ in run.epochs(1, model, optimizer):
            for images, _, _ in data.forget.batches(self.batch_size):
                run.step(optimizer, divergence_from_uniform(model(images)))

    def _contrast(self, model: nn.Module, data: View, run: Run, optimizer: SGD, schedule: LRScheduler) -> None:
        pairs = zip(data.forget.batches(self.batch_size), data.retain.batches(self.batch_size), strict=False)
        for forget, retain in pairs:
            forgotten = model(forget.images)
            with torch.no_grad():
                kept = model(retain.images)
            run.step(optimizer, contrast(forgotten, kept, self.temperature))
            schedule.step()


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """Return KL(uniform || softmax(logits)), the mean over a batch of logits [B, C]."""
    return distillation(logits, torch.zeros_like(logits), temperature=1.0)


def contrast(forget: Tensor, retain: Tensor, temperature: float) -> Tensor:
    """Return the mean over all entries of -log_softmax(Z_F Z_R^T / T) of logits Z_F [B, C] and Z_R [D, C].

    The softmax runs over the retain images: the loss is least where a forget image is equally like all of them.
    """
    return -log_softmax(forget @ retain.T / temperature, dim=1).mean()
