"""Gradient ascent on the forget part."""

from __future__ import annotations

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, Run, View, method, ranges, variants


@method(reads={FORGET}, source="Graves et al. 2021, AAAI; Thudi et al. 2022, arXiv 2109.13398")
class GradientAscent:
    """Raise the loss on the forget part; the retain part is never seen."""

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after descent on minus the cross-entropy of the forget part."""
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        model.train()
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, labels, _ in data.forget.batches(self.batch_size):
                run.step(optimizer, -cross_entropy(model(images), labels))
        return model
