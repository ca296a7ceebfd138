"""Repeated noise injection: the seventh-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD

from harness.contracts import REFERENCE, RETAIN, Run, View, fixed, method, ranges, variants
from harness.engine.train import fit
from harness.engine.weights import add_noise, reset_parameters


@method(reads={RETAIN}, source="Triantafillou et al. 2024, arXiv 2406.09073, 7th place (kgltop7)")
class RNI:
    """Draw the head anew; train a few random tensors at a time on retain, some of them with noise, then all of them.

    Each epoch but the last `fine_epochs` trains the normalisation parameters and `layers` others; the share
    `noise_ratio` of those others gets noise first (not in the first `reset_epochs`, and no tensor twice). Every epoch
    has an optimiser of its own. Normalisation parameters are those of BatchNorm; under `reference` those with "bn" in
    their name, which leaves out the shortcuts of a ResNet.
    """

    lr: float = ranges.learning_rate(2e-4)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(9)
    fine_lr: float = ranges.learning_rate(2e-4)
    fine_weight_decay: float = ranges.weight_decay(5e-4)
    fine_epochs: int = ranges.epochs(4)
    reset_epochs: int = ranges.epochs(1)
    noise_ratio: float = ranges.share(0.7)
    noise_std: float = ranges.share(0.04)
    layers: int = fixed(9, least=1)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model; with `fine_epochs` >= `epochs` it is fine-tuned as a whole after the reset of the head."""
        reset_parameters(model.get_submodule(run.architecture.head), run.generator)
        disturbed: set[str] = set()
        for epoch in range(self.epochs):
            if epoch < self.epochs - self.fine_epochs:
                chosen = self._freeze_all_but_some(model, run.generator)
                if epoch >= self.reset_epochs:
                    self._disturb(chosen, disturbed, run.generator)
                lr, weight_decay = self.lr, self.weight_decay
            else:
                model.requires_grad_(True)
                lr, weight_decay = self.fine_lr, self.fine_weight_decay
            weights = [weight for weight in model.parameters() if weight.requires_grad]
            optimizer = SGD(weights, lr, self.momentum, weight_decay=weight_decay)
            fit(model, data.retain, optimizer, run, epochs=1, batch_size=self.batch_size)
        return model.requires_grad_(True)

    def _freeze_all_but_some(self, model: nn.Module, generator: torch.Generator) -> dict[str, Parameter]:
        """Leave only normalisation and `layers` random other tensors trainable; return those others, as drawn."""
        normalisation = named_bn(model) if self.variant == REFERENCE else of_batch_norm(model)
        others = [(name, weight) for name, weight in model.named_parameters() if name not in normalisation]
        chosen = dict(others[i] for i in torch.randperm(len(others), generator=generator)[: self.layers].tolist())
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in normalisation or name in chosen)
        return chosen

    def _disturb(self, chosen: dict[str, Parameter], disturbed: set[str], generator: torch.Generator) -> None:
        """Add noise to a random share of the chosen tensors, but for those of earlier epochs; note which."""
        names = list(chosen)
        for i in torch.randperm(len(names), generator=generator)[: int(self.noise_ratio * len(names))].tolist():
            if names[i] not in disturbed:
                add_noise(chosen[names[i]], self.noise_std, generator)
                disturbed.add(names[i])


def of_batch_norm(model: nn.Module) -> set[str]:
    """Return the names of the parameters of BatchNorm layers."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    return {name for prefix, layer in layers for name, _ in layer.named_parameters(prefix)}


def named_bn(model: nn.Module) -> set[str]:
    """Return the names of the parameters that contain "bn"."""
    return {name for name, _ in model.named_parameters() if "bn" in name}
