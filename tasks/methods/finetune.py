"""Fine-tuning on the retain part."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import RETAIN, Run, View, method, ranges, variants
from harness.engine.train import fit


@method(reads={RETAIN}, source="Golatkar et al. 2020, CVPR; Warnecke et al. 2021, arXiv 2108.11577")
class Finetune:
    """Train on with the retain part; the learning rate falls on a cosine, once per epoch."""

    lr: float = ranges.learning_rate(0.1)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(5)
    variant: str = variants("reference")

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
