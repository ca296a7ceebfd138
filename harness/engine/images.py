"""Resizing whole data sets, in batches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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
