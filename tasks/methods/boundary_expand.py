"""Boundary expand: forget images move into a class of their own, which is then taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, Run, View, choice, method, ranges
from harness.errors import HarnessError


class NotLinear(HarnessError):
    """A head that cannot get another row."""


@method(reads={FORGET}, source="Chen et al. 2023, CVPR, arXiv 2303.11570, boundary expand")
class BoundaryExpand:
    """Train forget images into class C + 1, whose row of the head is not part of the model that is returned.

    The row is drawn as Xavier normal, its bias 0. It stands beside the model, not in it: curves are those of the C
    classes. Released copies keep it, and then forget by answering C + 1. In `mode` eval the running statistics of
    BatchNorm stay; the released code trains in mode train.
    """

    lr: float = ranges.learning_rate(1e-5)
    momentum: float = ranges.momentum()
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(10)
    mode: str = choice("eval", "train", default="eval")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after training on forget with one class more; raises `NotLinear`."""
        head = model.get_submodule(run.architecture.head)
        if not isinstance(head, nn.Linear):
            raise NotLinear(
                f"boundary_expand needs a linear head; {run.architecture.head!r} of architecture "
                f"{run.architecture.name!r} is a {type(head).__name__}"
            )
        row = shadow_row(head, run.generator)
        optimizer = SGD([*model.parameters(), *row.parameters()], self.lr, self.momentum)
        model.train(self.mode == "train")
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, labels, _ in data.forget.batches(self.batch_size):
                with inputs_of(head) as features:
                    logits = model(images)
                widened = torch.cat([logits, row(features[0])], dim=1)
                run.step(optimizer, cross_entropy(widened, torch.full_like(labels, logits.shape[1])))
        return model


def shadow_row(head: nn.Linear, generator: torch.Generator) -> nn.Linear:
    """Return the layer of one output that widens a head of C rows: Xavier normal for C + 1 rows, bias 0."""
    row = nn.Linear(head.in_features, 1, bias=head.bias is not None)
    deviation = (2 / (head.in_features + head.out_features + 1)) ** 0.5
    with torch.no_grad():
        row.weight.copy_(deviation * torch.randn(row.weight.shape, generator=generator))
        if row.bias is not None:
            row.bias.zero_()
    return row.to(head.weight)


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a layer is given inside, with its graph."""
    found: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()
