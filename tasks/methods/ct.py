"""Convolution transpose: the fifth-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import (
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
from harness.engine.train import fit


@method(reads={RETAIN}, source="Triantafillou et al. 2024, arXiv 2406.09073, 5th place (kgltop5)")
class CT:
    """Swap the two spatial axes of every convolution kernel, then fine-tune on the retain part."""

    lr: float = log_uniform(1e-5, 1e-1, default=1e-3)
    momentum: float = fixed(0.9, most=1)
    weight_decay: float = log_uniform(1e-5, 1e-1, default=5e-4)
    batch_size: int = choice(64, 128, 256, default=64)
    epochs: int = integer(1, share_of_training(0.2), default=3)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the transposed and fine-tuned model."""
        transpose_kernels(model)
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        schedule = CosineAnnealingLR(optimizer, self.epochs)
        return fit(
            model,
            data.retain,
            optimizer,
            run,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=schedule,
        )


def transpose_kernels(model: nn.Module) -> None:
    """Swap height and width of every Conv2d kernel in place; 1 x 1 kernels stay as they are."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(layer.weight.transpose(2, 3).clone())
