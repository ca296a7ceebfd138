"""Gradient reversal as a schedule: epochs in which steps on retain and reversed steps on forget alternate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Protocol, TypeVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import FORGET, RETAIN, Batch, Diverged, Part, Run, View
from tasks.methods.cf_k import last_modules

T = TypeVar("T")

EVAL, TRAIN = "eval", "train"
"""The mode of BatchNorm: by the statistics that it has kept, or by those of the batch, which it then keeps, too."""
FORGET_STEPS = 2
"""So many steps on forget follow each step on retain while `woven`."""


class Order(Protocol):
    """In which order an epoch takes the batches of one pass over each part; what is left over is not seen."""

    def __call__(self, retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
        """Yield each step's part and batch."""


def retain_only(retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
    """Yield all batches of retain."""
    for batch in retain:
        yield RETAIN, batch


def forget_only(retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
    """Yield all batches of forget."""
    for batch in forget:
        yield FORGET, batch


def one_after_the_other(retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
    """Yield all batches of retain, then all of forget."""
    yield from retain_only(retain, forget)
    yield from forget_only(retain, forget)


def paired(retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
    """Yield a batch of retain and one of forget in turn until either part has no more."""
    for kept, reversed_ in zip(retain, forget, strict=False):
        yield RETAIN, kept
        yield FORGET, reversed_


def woven(retain: Iterable[T], forget: Iterable[T]) -> Iterator[tuple[Part, T]]:
    """Yield all batches of retain, and after each up to two of forget, while there are any."""
    rest = iter(forget)
    for kept in retain:
        yield RETAIN, kept
        for reversed_ in islice(rest, FORGET_STEPS):
            yield FORGET, reversed_


@dataclass(frozen=True)
class Phase:
    """Epochs of one order with one optimiser: an SGD of its own where `cosine`, else shared with its like.

    `scales` holds for each epoch what the loss of forget is multiplied with. `trained` is how many of the last blocks
    learn, with the head; None is the whole model. BatchNorm outside of them is in the mode `frozen_bn`. With `cosine`
    the rate falls once per epoch and would be 0 after the last. `evaluated` puts the whole model into eval mode.
    """

    order: Order
    scales: tuple[float, ...]
    trained: int | None = None
    frozen_bn: str = EVAL
    cosine: bool = False
    evaluated: bool = False


def fine_tuning(epochs: int, trained: int | None = None, frozen_bn: str = EVAL) -> Phase:
    """Return passes over retain with an optimiser of their own whose rate falls on a cosine."""
    return Phase(retain_only, (0.0,) * epochs, trained, frozen_bn, cosine=True)


SHARES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "linear": lambda done: done,
        "quadratic": lambda done: done**2,
        "exponential": lambda done: math.expm1(4 * done) / math.expm1(4),
    }
)
"""The share of its final value that the reversal scale has when `done` in [0, 1] of the epochs lie behind."""


def rising(scale: float, epochs: int, schedule: str) -> tuple[float, ...]:
    """Return scale x share(e / epochs) for e = 0..epochs-1: 0 in the first epoch, and never quite the scale itself."""
    return tuple(scale * SHARES[schedule](epoch / epochs) for epoch in range(epochs))


def follow(
    phases: Sequence[Phase], model: nn.Module, data: View, run: Run, *, batch_size: int, sgd: partial[SGD]
) -> nn.Module:
    """Return the model after all phases: descent on CE(retain) and on scale x CE(forget), a step for each batch.

    `sgd` makes an optimiser from parameters. Phases without `cosine` share one, with its momentum, as long as the same
    blocks learn; where others learn, a new one is made. Raises `Diverged` after an epoch whose last loss is not finite.
    """
    shared: dict[int | None, SGD] = {}
    for phase in phases:
        let_learn(model, phase, run)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        schedule = None
        if phase.cosine:
            optimizer = sgd(learning)
            schedule = CosineAnnealingLR(optimizer, len(phase.scales))
        else:
            if phase.trained not in shared:
                shared[phase.trained] = sgd(learning)
            optimizer = shared[phase.trained]
        for epoch in run.epochs(len(phase.scales), model, optimizer, schedule):
            scale = phase.scales[epoch]
            run.record("reversal_scale", torch.tensor(scale))
            for part, (images, labels, _) in phase.order(*_passes(data, batch_size)):
                loss = cross_entropy(model(images), labels)
                run.step(optimizer, scale * loss if part == FORGET else loss)
            if not loss.isfinite():
                raise Diverged("the loss is not finite")
    return model.requires_grad_(True)


def let_learn(model: nn.Module, phase: Phase, run: Run) -> None:
    """Freeze what a phase does not train, and put every module into its mode.

    Blocks and head are those that the architecture names. What is not named (the BatchNorm behind a ResNet's stem, the
    first stage of TinyViT) is frozen with the stem. `NoBlocks` where blocks are asked for and none are declared.
    """
    model.train(not phase.evaluated).requires_grad_(phase.trained is None)
    if phase.trained is None:
        return
    learning = last_modules(model, run.architecture, phase.trained)
    for module in learning:
        module.requires_grad_(True)
    if phase.frozen_bn == EVAL:
        awake = {layer for module in learning for layer in module.modules()}
        for layer in model.modules():
            if isinstance(layer, _BatchNorm) and layer not in awake:
                layer.eval()


def _passes(data: View, batch_size: int) -> Iterator[Iterator[Batch]]:
    """Yield a pass over retain and one over forget; empty where the method may not read the part."""
    for part in (RETAIN, FORGET):
        yield data.parts[part].batches(batch_size) if part in data.parts else iter(())
