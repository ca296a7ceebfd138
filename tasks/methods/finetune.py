"""Fine-tuning on the retain part."""

from __future__ import annotations

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


@method(reads={RETAIN}, source="Golatkar et al. 2020, CVPR; Warnecke et al. 2021, arXiv 2108.11577")
class Finetune:
    """Train on with the retain part; the learning rate falls on a cosine, once per epoch."""

    lr: float = log_uniform(1e-5, 1e-1, default=0.1)
    momentum: float = fixed(0.9, most=1)
    weight_decay: float = log_uniform(1e-5, 1e-1, default=5e-4)
    batch_size: int = choice(64, 128, 256, default=256)
    epochs: int = integer(1, share_of_training(0.2), default=5)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the fine-tuned model."""
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
