"""Convolution transpose: the fifth-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import RETAIN, Run, View, method, ranges, variants
from harness.engine.train import fit
from harness.errors import HarnessError


class NotSquare(HarnessError):
    """A convolution kernel whose height is not its width."""


@method(reads={RETAIN}, source="Triantafillou et al. 2024, arXiv 2406.09073, 5th place (kgltop5)")
class CT:
    """Swap the two spatial axes of every convolution kernel, then fine-tune on the retain part."""

    lr: float = ranges.learning_rate(1e-3)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(3)
    variant: str = variants("reference")

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
    """Swap height and width of every Conv2d kernel in place; 1 x 1 kernels stay as they are.

    Raises `NotSquare` for a kernel that is wider than high: it would no longer fit into its layer.
    """
    kernels = {name: layer.weight for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    for name, weight in kernels.items():
        if weight.shape[2] != weight.shape[3]:
            size = "x".join(map(str, weight.shape[2:]))
            raise NotSquare(f"ct cannot transpose the {size} kernel of {name!r}; it needs square kernels")
    with torch.no_grad():
        for weight in kernels.values():
            weight.copy_(weight.transpose(2, 3).clone())
