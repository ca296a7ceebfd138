"""MUNBa: every step is the bargain of two gradients, one that keeps and one that forgets."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Batch, Run, View, choice, method, ranges
from tasks.methods._batches import endless, nothing_to_forget

TINY = 1e-30
"""Stands for the norm of a gradient that is 0: it has nothing to bargain for, and no say."""

OPPOSED = -1 + 1e-6
"""Up to this cosine two gradients are opposite: no step helps both."""


class NoBargain(Exception):
    """The two gradients are opposite: the model is Pareto-stationary."""


@method(reads={RETAIN, FORGET}, name="munba", source="Wu and Harandi 2025, ICCV, arXiv 2411.15537")
class MUNBa:
    """Step along the Nash bargain of the gradient of CE on retain and that of CE on forget with random labels.

    The bargain a_r g_r + a_f g_f solves a_i (G a)_i = 1, G being the inner products of the two gradients: a_r = 1 /
    sqrt(g_r.g_r (1 + c)), a_f = 1 / sqrt(g_f.g_f (1 + c)), c their cosine. Neither loss's scale counts, and its norm is
    sqrt 2 always; it is cut to `clip` (5 leaves it as it is), so that the rate is the length of a step. The default
    rate is this harness's. The release's form is not symmetric and breaks down where c is 0. Each forget batch draws
    new labels, evenly among all classes. The model is in train mode on retain and in eval mode on forget, so that
    BatchNorm's statistics are those of retain. Training ends where the gradients are opposite; a warning says so. The
    cosines are recorded as `cosine`.

    A search draws the weight decay and the batch size beside the rate, the epochs and `clip`: every optimiser here has
    the same ranges, so that methods compete for one budget on equal terms.
    """

    lr: float = ranges.learning_rate(1e-3)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(5)
    clip: float = choice(0.5, 1.0, 5.0, default=1.0)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after `epochs` passes over retain; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        forget, ended = endless(data.forget, self.batch_size), False
        for _ in run.epochs(self.epochs, model, optimizer):
            for kept in () if ended else data.retain.batches(self.batch_size):
                try:
                    self._step(model, kept, next(forget), data.classes, optimizer, run)
                except NoBargain:
                    warnings.warn(f"{data.method}: training ended early: its gradients are opposite", stacklevel=2)
                    ended = True
                    break
        return model

    def _step(self, model: nn.Module, kept: Batch, forgotten: Batch, classes: int, optimizer: SGD, run: Run) -> None:
        """Take one step; raises `NoBargain` before it where no step helps both."""
        parameters = list(model.parameters())
        labels = torch.randint(classes, (len(forgotten.labels),), generator=run.generator).to(run.device)
        model.eval()
        wrong = cross_entropy(model(forgotten.images), labels)
        forget = torch.autograd.grad(wrong, parameters, materialize_grads=True)

        def strike_bargain() -> None:
            retain = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
            dots = products(retain, list(forget))
            found = nash_weights(*dots)
            run.record("cosine", cosine(*dots))
            if found is None:
                raise NoBargain
            for parameter, keeps, forgets in zip(parameters, retain, forget, strict=True):
                parameter.grad = (found[0] * keeps + found[1] * forgets).to(parameter.dtype)
            clip_grad_norm_(parameters, self.clip)

        model.train()
        run.step(optimizer, cross_entropy(model(kept.images), kept.labels), strike_bargain)


def products(retain: list[Tensor], forget: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return g_r.g_r, g_r.g_f and g_f.g_f [], float64, of two gradients in the parameters' shapes."""
    pairs = [(one.double().flatten(), other.double().flatten()) for one, other in zip(retain, forget, strict=True)]
    together = [torch.stack([one @ one, one @ other, other @ other]) for one, other in pairs]
    own, shared, others = torch.stack(together).sum(0)
    return own, shared, others


def cosine(own: Tensor, shared: Tensor, others: Tensor) -> Tensor:
    """Return the cosine [] of two gradients from their inner products; 0 where one of them is 0."""
    return (shared / (own.sqrt() * others.sqrt()).clamp(min=TINY)).clamp(-1, 1)


def nash_weights(own: Tensor, shared: Tensor, others: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return a_r and a_f [] from g_r.g_r, g_r.g_f and g_f.g_f; None where the gradients are opposite."""
    c = cosine(own, shared, others)
    if bool(c <= OPPOSED):
        return None
    gain = (1 + c).sqrt()
    return 1 / (own.sqrt().clamp(min=TINY) * gain), 1 / (others.sqrt().clamp(min=TINY) * gain)
