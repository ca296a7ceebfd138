"""Saliency unlearning: random labels, learnt by the weights that matter most to the forget part alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, REFERENCE, RETAIN, Run, Samples, View, method, ranges, variants
from tasks.methods.successive_random_labels import train_on_random_labels


@method(reads={RETAIN, FORGET}, name="salun", source="Fan et al. 2024, ICLR, arXiv 2310.12508")
class SalUN:
    """Successive random labels, with the gradient of all but the most salient weights set to zero.

    The saliency of a weight is the absolute gradient of -CE on the forget part, in eval mode; over all parameters
    together the `threshold` share with the largest one learns. Weight decay moves the others, too. The random labels
    are those of `successive_random_labels`, also under `reference`.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum(0.0)
    weight_decay: float = ranges.weight_decay(0.0)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    threshold: float = ranges.share(0.5)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after training its salient weights on random labels."""
        masks = largest(forget_gradients(model, data.forget, self.batch_size, run), self.threshold)

        def keep_salient() -> None:
            for parameter, mask in zip(model.parameters(), masks, strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(mask)

        return train_on_random_labels(
            model,
            data,
            SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay),
            run,
            epochs=self.epochs,
            batch_size=self.batch_size,
            released=self.variant == REFERENCE,
            edit_gradients=keep_salient,
        )


def forget_gradients(model: nn.Module, forget: Samples, batch_size: int, run: Run) -> list[Tensor]:
    """Return the gradient of -CE (mean of a batch), summed over one pass in eval mode, for every parameter."""
    model.eval()
    parameters = list(model.parameters())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for images, labels, _ in forget.batches(batch_size):
        run.check()
        loss = -cross_entropy(model(images), labels)
        for total, gradient in zip(totals, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True):
            total.add_(gradient)
    return totals


def largest(gradients: list[Tensor], share: float) -> list[Tensor]:
    """Return masks in the gradients' shapes: 1 at the int(share x n) largest of all n absolute values, else 0.

    Among equal values the first ones are taken, so that the number is exact.
    """
    size = torch.cat([gradient.abs().flatten() for gradient in gradients])
    mask = torch.zeros_like(size)
    mask[size.argsort(descending=True, stable=True)[: int(share * len(size))]] = 1
    pieces = torch.split(mask, [gradient.numel() for gradient in gradients])
    return [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)]
