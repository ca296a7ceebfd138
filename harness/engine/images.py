"""Resizing whole data sets, in batches; turning the images of a batch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

BATCH = 4096


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images [n, C, H, W] uint8 resized to `size` x `size`, bilinear with antialiasing.

    Within 1/255 of torchvision's `Resize` on PIL images, which rounds between its two passes.
    """
    parts = [
        functional.interpolate(
            torch.from_numpy(images[start : start + BATCH]).float(),
            size=(size, size),
            mode="bilinear",
            antialias=True,
        )
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        .numpy()
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Return float images [B, C, H, W] turned counter-clockwise about their centres by `degrees` [B].

    Bilinear; what lies outside of an image is zero. Image b is turned by degrees[b] alone.
    """
    height, width = images.shape[2:]
    radians = degrees.to(images) * (math.pi / 180)
    cos, sin, none = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # The grid is in units of half a width and half a height: sines change between them.
    rows = (cos, -sin * (height / width), none), (sin * (width / height), cos, none)
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
