"""Adversarial images: another answer of a model within a bound on every pixel, or the nearest one in L2."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy

from harness.contracts import ImageFormat

LEVELS = 255
"""Steps of a pixel from 0 to 1."""

CLIMBS = 50
"""Steps of a round, of a tenth of its bound each."""


def adversarial_images(
    model: nn.Module, images: Tensor, labels: Tensor, format_: ImageFormat, *, bound: float, steps: int, step: float
) -> Tensor:
    """Return images [B, C, H, W] on which a model's cross-entropy is larger, no pixel moved by more than `bound`.

    Each of `steps` goes by `step` along the sign of the gradient, back into the bound and into [0, 1]; bound and step
    are those of pixels in [0, 1], the images are normalised before and after. The result is rounded to whole 1/255.
    Source: Goodfellow et al. 2015, arXiv 1412.6572 (one step of the bound); Madry et al. 2018, arXiv 1706.06083.
    """
    mean, std = _normalisation(images, format_)
    pixels = images * std + mean
    low, high = (pixels - bound).clamp(min=0), (pixels + bound).clamp(max=1)
    moved = pixels
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model((moved - mean) / std), labels), moved)
        moved = torch.minimum(torch.maximum(moved + step * slope.sign(), low), high)
    return ((moved.detach() * LEVELS).round() / LEVELS - mean) / std


class Neighbours(NamedTuple):
    """What a model answers next to images: moved images [B, C, H, W], answers [B], distances [B] of pixels in [0, 1].

    An image whose answer is still its label has no such neighbour within reach.
    """

    images: Tensor
    answers: Tensor
    distances: Tensor


def nearest_neighbours(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    format_: ImageFormat,
    *,
    bound: float,
    rounds: int,
    check: Callable[[], None],
) -> Neighbours:
    """Return for each image one near it, by Euclidean distance, that a model takes for something else than its label.

    A round is 50 steps of bound / 10 along the gradient of the cross-entropy, which has length 1 for each image, from
    the image itself, back into the ball of the bound and into [0, 1]. `bound` is that of the first round, in which an
    image is that is right; it doubles until the answer is another. An image that is wrong stays as it is. Nothing is
    rounded: a bound of 0.04 is below half a level of 3072 pixels. In full precision; `check` runs before each round.
    Source: Ebrahimpour et al. 2025, ICML, AMUN; Madry et al. 2018, arXiv 1706.06083.
    """
    mean, std = _normalisation(images, format_)
    pixels = (images * std + mean).clamp(0, 1)
    moved, distances = images.clone(), images.new_zeros(len(images))
    with torch.autocast(images.device.type, enabled=False):
        answers = _answers(model, images)
        for _ in range(rounds):
            check()
            right = (answers == labels).nonzero().flatten()
            if not len(right):
                break
            near = _climb(lambda p: model((p - mean) / std), pixels[right], labels[right], bound)
            moved[right] = (near - mean) / std
            distances[right] = vector_norm((near - pixels[right]).flatten(1), dim=1)
            answers[right] = _answers(model, moved[right])
            bound *= 2
    return Neighbours(moved, answers, distances)


def _climb(answer: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor, bound: float) -> Tensor:
    """Return pixels moved uphill on the cross-entropy by at most `bound`, all in [0, 1]."""
    moved = pixels
    for _ in range(CLIMBS):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(answer(moved), labels, reduction="sum"), moved)
        change = moved.detach() + bound / 10 * slope / _lengths(slope) - pixels
        change = change * (bound / _lengths(change)).clamp(max=1)
        moved = (pixels + change).clamp(0, 1)
    highest: Tensor = moved.detach()
    return highest


def _lengths(vectors: Tensor) -> Tensor:
    """Return the Euclidean lengths [B, 1, 1, 1], never 0: their squares in float64, lest those of small ones vanish."""
    lengths: Tensor = vector_norm(vectors.flatten(1).double(), dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return lengths.to(vectors.dtype).view(-1, 1, 1, 1)


def _answers(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answers: Tensor = model(images).argmax(1)
    return answers


def _normalisation(images: Tensor, format_: ImageFormat) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [1, C, 1, 1] of pixels in [0, 1], in the images' type."""
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype).view(1, -1, 1, 1) for v in format_[1:])
    return mean, std
