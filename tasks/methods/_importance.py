"""How much every weight matters to some images: squared or absolute gradients, of batches or of single images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy

from harness.contracts import Run, Samples
from harness.errors import HarnessError

Signal = Callable[[Tensor, Tensor], Tensor]
"""From logits [B, C] and labels [B] to one number for each image [B]."""

Importances = dict[str, Tensor]
"""For every parameter, by name and in its shape, a float64 number of 0 or more."""

AT_ONCE = 2**27
"""Most numbers that the gradients of a chunk of single images hold: half a gigabyte in float32."""

NOTHING_TO_TELL = (
    "no gradient reaches the weights of the model, so none can be told to matter; it must be differentiable"
)

MOST_IMAGES = 128
"""Largest chunk: what a pass forward and back keeps for each image counts, too."""


class NoGradient(HarnessError):
    """A model whose answers do not depend on its weights in a way that has a gradient."""


def with_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every image [B], in nats: its squared gradient is the diagonal Fisher information."""
    return cross_entropy(logits, labels, reduction="none")


def without_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the squared norm of the logits of every image [B] (Foster et al. 2024, arXiv 2402.19308)."""
    return logits.square().sum(1)


def norm_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the norm of the logits of every image [B], not squared (Schoepf et al. 2024, arXiv 2406.09173)."""
    norms: Tensor = vector_norm(logits, dim=1)
    return norms


class Measure(NamedTuple):
    """What an importance is: |gradient of the signal| to the power."""

    signal: Signal
    power: int


FISHER = Measure(with_labels, 2)
"""The diagonal of the empirical Fisher information."""

SENSITIVITY = Measure(without_labels, 1)
"""How much the logits depend on a weight; no label is read."""

NORM_SENSITIVITY = Measure(norm_of_logits, 1)
"""The same of their norm: an image with large logits counts no more than another."""


def of_batches(model: nn.Module, samples: Samples, measure: Measure, batch_size: int, run: Run) -> Importances:
    """Return the mean over batches of |gradient of the batch's mean signal| ** power; 0 where there is no image.

    In eval mode, images as they are and in their own order. Gradients of a batch cancel each other, so the result
    depends on the size and the order of the batches. Raises `NoGradient`.
    """
    model.eval()
    parameters = dict(model.named_parameters())
    totals, batches = _zeros(model), 0
    for images, labels, _ in samples.batches(batch_size, shuffle=False):
        run.check()
        mean = measure.signal(model(images), labels).mean()
        if not mean.requires_grad:
            raise NoGradient(NOTHING_TO_TELL)
        gradients = torch.autograd.grad(mean, list(parameters.values()), materialize_grads=True)
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total.add_(gradient.double().abs().pow(measure.power))
        batches += 1
    return {name: total / max(1, batches) for name, total in totals.items()}


def of_images(model: nn.Module, samples: Samples, measure: Measure, run: Run) -> Importances:
    """Return the mean over images of |gradient of the image's signal| ** power; 0 where there is no image.

    In eval mode, images as they are. A sum over images: neither their order nor how many are held at a time counts.
    Raises `NoGradient`.
    """
    model.eval()
    buffers = dict(model.named_buffers())
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def of_one(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, (weights, buffers), (image.unsqueeze(0),))
        return measure.signal(logits, label.unsqueeze(0)).squeeze(0)

    gradients_of = vmap(grad(of_one), in_dims=(None, 0, 0))
    totals = _zeros(model)
    numbers = sum(parameter.numel() for parameter in parameters.values())
    chunk = min(MOST_IMAGES, max(1, AT_ONCE // max(1, numbers)))
    for images, labels, _ in samples.batches(chunk, shuffle=False):
        run.check()
        with warnings.catch_warnings():  # of layers that vmap runs image by image: slower, and no less right
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found = gradients_of(parameters, images, labels)
        for name, gradients in found.items():
            totals[name].add_(gradients.double().abs().pow(measure.power).sum(0))
    if len(samples) and not any(total.any() for total in totals.values()):
        raise NoGradient(NOTHING_TO_TELL)
    return {name: total / max(1, len(samples)) for name, total in totals.items()}


def _zeros(model: nn.Module) -> Importances:
    return {name: torch.zeros_like(value, dtype=torch.float64) for name, value in model.named_parameters()}
