"""l1-sparse unlearning and pruning before unlearning: fine-tuning on retain of a model that is, or becomes, sparse."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import RETAIN, Run, View, choice, fixed, log_uniform, method, ranges
from harness.engine.train import fit
from harness.errors import HarnessError

SOURCE = "Jia et al. 2023, NeurIPS, arXiv 2304.04934"


class NoSparseEpoch(HarnessError):
    """Epochs without the penalty that leave no epoch with it."""


@method(reads={RETAIN}, source=f"{SOURCE}, l1-sparse MU")
class L1Sparse:
    """Fine-tune on the retain part with CE + gamma_e x the sum of the absolute values of all parameters.

    Under `schedule` decay gamma_e falls linearly from `gamma` in epoch 0 and is 0 in the last `plain_epochs` of E:
    gamma_e = gamma x (1 - e / (E - plain_epochs)). Under `constant` it is `gamma` before those. The learning rate falls
    on a cosine, as in `finetune`: with `gamma` 0 the two are the same.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    gamma: float = log_uniform(1e-6, 1e-2, default=5e-4)
    schedule: str = choice("decay", "constant", default="decay")
    plain_epochs: int = fixed(0)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after fine-tuning under the penalty; raises `NoSparseEpoch`."""
        if self.plain_epochs >= self.epochs:
            raise NoSparseEpoch(
                f"l1_sparse: plain_epochs is {self.plain_epochs} of {self.epochs} epochs; it must be fewer than epochs"
            )
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        parameters = list(model.parameters())
        model.train()
        for epoch in run.epochs(self.epochs, model, optimizer, CosineAnnealingLR(optimizer, self.epochs)):
            gamma = penalty(self.gamma, epoch, self.epochs - self.plain_epochs, decays=self.schedule == "decay")
            for images, labels, _ in data.retain.batches(self.batch_size):
                loss = cross_entropy(model(images), labels)
                run.step(optimizer, loss + gamma * norm(parameters) if gamma else loss)
        return model


@method(reads={RETAIN}, source=f"{SOURCE}, prune first (one-shot magnitude), then fine-tuning")
class PruneFirst:
    """Set the smallest weights of the convolutions and linear layers to zero, then fine-tune the others on retain.

    The `sparsity` share with the smallest absolute values, over all those layers together, is pruned and stays zero.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    sparsity: float = choice(0.5, 0.9, 0.95, default=0.95)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the pruned and fine-tuned model."""
        masks = prune(model, self.sparsity)

        def keep_zero() -> None:
            """Leave a pruned weight without a gradient; weight decay and momentum of a zero are zero, too."""
            for weight, mask in masks:
                if weight.grad is not None:
                    weight.grad.mul_(mask)

        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        return fit(
            model,
            data.retain,
            optimizer,
            run,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=CosineAnnealingLR(optimizer, self.epochs),
            edit_gradients=keep_zero,
        )


def penalty(gamma: float, epoch: int, epochs: int, *, decays: bool) -> float:
    """Return the weight of the l1 norm in an epoch, counted from 0, where it is above 0 in the first `epochs`."""
    if epoch >= epochs:
        return 0.0
    return gamma * (1 - epoch / epochs) if decays else gamma


def norm(parameters: list[nn.Parameter]) -> Tensor:
    """Return the sum of the absolute values of all parameters."""
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


def prune(model: nn.Module, sparsity: float) -> list[tuple[Tensor, Tensor]]:
    """Set the int(sparsity x n) smallest of the n weights of all convolutions and linear layers to zero, in place.

    Returns those weights with their masks: 0 where pruned, else 1. Among equals the first ones go.
    """
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    size = torch.cat([weight.detach().abs().flatten() for weight in weights])
    mask = torch.ones_like(size)
    mask[size.argsort(stable=True)[: int(sparsity * len(size))]] = 0
    pieces = torch.split(mask, [weight.numel() for weight in weights])
    masks = [(weight, piece.view_as(weight)) for weight, piece in zip(weights, pieces, strict=True)]
    with torch.no_grad():
        for weight, piece in masks:
            weight.mul_(piece)
    return masks
