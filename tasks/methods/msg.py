"""Masked small gradients: the second-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts import FORGET, RETAIN, Run, View, fixed, method, ranges, variants
from harness.engine.train import fit

GRADIENT_BATCH = 64


@method(reads={RETAIN, FORGET}, source="Triantafillou et al. 2024, arXiv 2406.09073, 2nd place (kgltop2)")
class MSG:
    """Re-initialise the convolution weights that matter least to (retain - forget), then train on retain.

    The gradients of CE(retain sample) - CE(forget) are accumulated; in each convolution the `init_rate` share
    of the weights with the smallest absolute gradient is drawn anew; the others learn with a dampened one.
    """

    lr: float = ranges.learning_rate(1e-3)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(5)
    init_rate: float = ranges.share(0.3)
    dampening: float = fixed(0.1, most=1)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after the masked training."""
        model.train()
        self._accumulate(model, data, run)
        masks = {
            layer.weight: reinitialise_smallest(layer.weight, self.init_rate, self.dampening, run.generator)
            for layer in model.modules()
            if isinstance(layer, nn.Conv2d)
        }

        def dampen() -> None:
            for weight, mask in masks.items():
                if weight.grad is not None:
                    weight.grad.mul_(mask)

        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        schedule = LambdaLR(optimizer, lambda epoch: triangle(min(epoch + 1, self.epochs), self.epochs))
        return fit(
            model,
            data.retain,
            optimizer,
            run,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=schedule,
            edit_gradients=dampen,
        )

    def _accumulate(self, model: nn.Module, data: View, run: Run) -> None:
        """Leave the gradients of CE on |forget| random retain images minus CE on forget in the parameters."""
        model.zero_grad(set_to_none=True)
        chosen = torch.randperm(len(data.retain), generator=run.generator)[: len(data.forget)]
        for images, labels, _ in data.retain.take(chosen).batches(GRADIENT_BATCH):
            run.check()
            cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        for images, labels, _ in data.forget.batches(self.batch_size):
            run.check()
            (-cross_entropy(model(images), labels)).backward()  # type: ignore[no-untyped-call]


def reinitialise_smallest(weight: Tensor, share: float, dampening: float, generator: torch.Generator) -> Tensor:
    """Redraw the round(share x n) weights of smallest |gradient| (Kaiming normal, fan out).

    Return the mask that multiplies the gradient, in the weight's shape: 1 where redrawn, else `dampening`.
    """
    count = round(share * weight.numel())
    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
    chosen = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    chosen[gradient.abs().flatten().argsort(stable=True)[:count]] = True
    chosen = chosen.view_as(weight)
    fresh = torch.empty(weight.shape)
    nn.init.kaiming_normal_(fresh, mode="fan_out", nonlinearity="relu", generator=generator)
    with torch.no_grad():
        weight.copy_(torch.where(chosen, fresh.to(weight.device), weight))
    return torch.where(chosen, 1.0, dampening)


def triangle(epoch: int, epochs: int) -> float:
    """Return the learning-rate factor of epoch 1..epochs: linear up to the middle, then linear down."""
    peak = (epochs + 1) // 2
    return epoch / peak if epoch <= peak else (epochs + 1 - epoch) / (epochs + 1 - peak)
