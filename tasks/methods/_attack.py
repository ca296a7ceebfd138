"""Adversarial images: the nearest other answer of a model, within a bound on every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts import ImageFormat

LEVELS = 255
"""Steps of a pixel from 0 to 1."""


def adversarial_images(
    model: nn.Module, images: Tensor, labels: Tensor, format_: ImageFormat, *, bound: float, steps: int, step: float
) -> Tensor:
    """Return images [B, C, H, W] on which a model's cross-entropy is larger, no pixel moved by more than `bound`.

    Each of `steps` goes by `step` along the sign of the gradient, back into the bound and into [0, 1]; bound and step
    are those of pixels in [0, 1], the images are normalised before and after. The result is rounded to whole 1/255.
    Source: Goodfellow et al. 2015, arXiv 1412.6572 (one step of the bound); Madry et al. 2018, arXiv 1706.06083.
    """
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype).view(1, -1, 1, 1) for v in format_[1:])
    pixels = images * std + mean
    low, high = (pixels - bound).clamp(min=0), (pixels + bound).clamp(max=1)
    moved = pixels
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model((moved - mean) / std), labels), moved)
        moved = torch.minimum(torch.maximum(moved + step * slope.sign(), low), high)
    return ((moved.detach() * LEVELS).round() / LEVELS - mean) / std
