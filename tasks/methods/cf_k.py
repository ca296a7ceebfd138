"""Catastrophic forgetting of the last k blocks, and the loop that it shares with exact unlearning of them."""

from __future__ import annotations

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts import REFERENCE, RETAIN, ArchitectureSpec, Run, Samples, View, integer, method, ranges, variants
from harness.engine.schedules import step_decay
from harness.errors import HarnessError
from tasks.methods._released import freeze_attention_biases


class NoBlocks(HarnessError):
    """A method that works on the last blocks met an architecture that names none."""


@method(name="cf_k", reads={RETAIN}, source="Goel et al. 2022, arXiv 2201.06640, CF-k")
class CFk:
    """Fine-tune only the last k blocks and the head on the retain part, held near where they start.

    The loss is CE + (l2 / 2) * ||w - w_original||^2 over the weights that are trained. The whole model stays in eval
    mode, so no BatchNorm statistic moves; plain SGD; the rate is multiplied by `decay` after 50, 80 and 90 % of the
    epochs. `reference` leaves attention biases as they are: the released code's TinyViT cannot train them in eval mode.
    """

    lr: float = ranges.learning_rate(0.01)
    l2: float = ranges.weight_decay(0.1)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    decay: float = ranges.share(0.1)
    k: int = integer(1, 10, default=1)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model with its last blocks and head trained on; `NoBlocks` where no blocks are declared."""
        return fit_anchored(
            model,
            last_modules(model, run.architecture, self.k),
            data.retain,
            run,
            lr=self.lr,
            l2=self.l2,
            batch_size=self.batch_size,
            epochs=self.epochs,
            decay=self.decay,
            released=self.variant == REFERENCE,
        )


def last_modules(model: nn.Module, architecture: ArchitectureSpec, k: int) -> list[nn.Module]:
    """Return the last k blocks (all, if there are fewer), input to output, and then the head."""
    if not architecture.blocks:
        raise NoBlocks(
            f"architecture {architecture.name!r} declares no blocks; a method that trains the last k needs them"
        )
    return [model.get_submodule(name) for name in (*architecture.blocks[-k:], architecture.head)]


def fit_anchored(
    model: nn.Module,
    modules: list[nn.Module],
    samples: Samples,
    run: Run,
    *,
    lr: float,
    l2: float,
    batch_size: int,
    epochs: int,
    decay: float,
    augment: bool = False,
    released: bool = False,
) -> nn.Module:
    """Minimise CE + (l2 / 2) * ||w - w_now||^2 over the weights of some modules in eval mode, the others frozen.

    `released` freezes the attention biases, too.
    """
    model.eval().requires_grad_(False)
    for module in modules:
        module.requires_grad_(True)
    if released:
        freeze_attention_biases(model)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    anchors = [weight.detach().clone() for weight in weights]
    optimizer = SGD(weights, lr)
    schedule = LambdaLR(optimizer, lambda epoch: step_decay(epoch, epochs, decay))
    for _ in run.epochs(epochs, model, optimizer, schedule):
        for images, labels, _ in samples.batches(batch_size, augment=augment):
            distance = sum((w - anchor).square().sum() for w, anchor in zip(weights, anchors, strict=True))
            run.step(optimizer, cross_entropy(model(images), labels) + l2 / 2 * distance)
    return model.requires_grad_(True)
