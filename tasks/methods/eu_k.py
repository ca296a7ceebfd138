"""Exact unlearning of the last k blocks: they start anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.contracts import REFERENCE, RETAIN, Run, View, integer, method, ranges, variants
from tasks.methods.cf_k import fit_anchored, last_modules


@method(name="eu_k", reads={RETAIN}, source="Goel et al. 2022, arXiv 2201.06640, EU-k")
class EUk:
    """Draw the last k blocks and the head anew and train only them on the augmented retain part.

    The loss is CE + (l2 / 2) * ||w - w_redrawn||^2 over the weights that are trained. The whole model stays in eval
    mode, and the redrawn blocks keep the BatchNorm statistics of the original; plain SGD; the rate is multiplied by
    `decay` after 50, 80 and 90 % of the epochs. `reference` leaves attention biases as they are: the released code's
    TinyViT cannot train them in eval mode.
    """

    lr: float = ranges.learning_rate(0.01)
    l2: float = ranges.weight_decay(0.1)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    decay: float = ranges.share(0.1)
    k: int = integer(1, 10, default=1)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with its last blocks and head drawn and trained anew; `NoBlocks` where none are declared."""
        modules = last_modules(model, run.architecture, self.k)
        for module in modules:
            redraw(module, run.generator)
        return fit_anchored(
            model,
            modules,
            data.retain,
            run,
            lr=self.lr,
            l2=self.l2,
            batch_size=self.batch_size,
            epochs=self.epochs,
            decay=self.decay,
            augment=True,
            released=self.variant == REFERENCE,
        )


@torch.no_grad()
def redraw(module: nn.Module, generator: torch.Generator) -> None:
    """Draw convolutions Kaiming-uniform (fan out) and linear layers Xavier-uniform, in place; biases become 0.

    BatchNorm gets weight 1 and bias 0 and keeps its running statistics. All else stays as it is.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fresh = torch.empty(layer.weight.shape)
            nn.init.kaiming_uniform_(fresh, mode="fan_out", nonlinearity="relu", generator=generator)
            set_parameters(layer, fresh)
        elif isinstance(layer, nn.Linear):
            fresh = torch.empty(layer.weight.shape)
            nn.init.xavier_uniform_(fresh, generator=generator)
            set_parameters(layer, fresh)
        elif isinstance(layer, nn.BatchNorm2d):
            set_parameters(layer, torch.ones(layer.weight.shape))


def set_parameters(layer: nn.Conv2d | nn.Linear | nn.BatchNorm2d, weight: Tensor) -> None:
    """Give a layer this weight and, if it has a bias, the bias 0."""
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.zero_()
