"""Confuse, fine-tune, weaken: the third-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import REFERENCE, RETAIN, Run, View, method, ranges, variants
from harness.engine.weights import add_noise


@method(reads={RETAIN}, source="Triantafillou et al. 2024, arXiv 2406.09073, 3rd place (kgltop3)")
class CFW:
    """Add noise to the first convolutions, then fine-tune on retain; a little noise again before the last epoch.

    The loss is CE(batch) * mean over the batch of the weight n / (C * n_c) of each label's class. `reference` adds the
    noise where the released code does: to the children of the model, not to what is inside them, whose name contains
    "conv"; that is the stem of a ResNet and nothing at all in a network whose convolutions lie deeper.
    """

    lr: float = ranges.learning_rate(7e-4)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(4)
    start_std: float = ranges.share(0.6)
    final_std: float = ranges.share(0.005)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the fine-tuned model; with a single epoch there is no second noise."""
        confused = named_conv(model) if self.variant == REFERENCE else stem_kernels(model, run.architecture.stem)
        confuse(confused, self.start_std, run.generator)
        weights = balanced_weights(data.retain.labels, data.classes)
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        model.train()
        for epoch in run.epochs(self.epochs, model, optimizer, CosineAnnealingLR(optimizer, self.epochs)):
            for images, labels, _ in data.retain.batches(self.batch_size):
                run.step(optimizer, cross_entropy(model(images), labels) * weights[labels].mean())
            if epoch == self.epochs - 2:
                confuse(confused, self.final_std, run.generator)
        return model


def stem_kernels(model: nn.Module, stem: tuple[str, ...]) -> list[Tensor]:
    """Return the weights of the convolutions in the modules of the stem."""
    layers = [layer for name in stem for layer in model.get_submodule(name).modules()]
    return [layer.weight for layer in layers if isinstance(layer, nn.Conv2d)]


def named_conv(model: nn.Module) -> list[Tensor]:
    """Return the weights of the model's own children that have "conv" in their name."""
    weights = [getattr(child, "weight", None) for name, child in model.named_children() if "conv" in name]
    return [weight for weight in weights if isinstance(weight, Tensor)]


def confuse(weights: list[Tensor], deviation: float, generator: torch.Generator) -> None:
    """Add Gaussian noise of one standard deviation to each of the weights in place."""
    for weight in weights:
        add_noise(weight, deviation, generator)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return n / (C * n_c) [classes] for labels [n], C being the number of classes among them; 0 for absent classes.

    Source: King and Zeng 2001, Political Analysis 9(2), as "balanced" in scikit-learn.
    """
    counts = labels.bincount(minlength=classes)
    weights = len(labels) / ((counts > 0).sum() * counts)
    return weights.where(counts > 0, 0.0)
