"""A small convolutional network for laptops and tests."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from harness.contracts import architecture

WIDTH = 16


@architecture(stem=("0",), blocks=("1", "2"), head="5", source="this harness")
def cnn_small(channels: int, size: int, classes: int) -> nn.Module:
    """Three 3 x 3 convolutions of width 16, 32, 64 with BatchNorm, average pooling and a linear head."""
    widths = (channels, WIDTH, 2 * WIDTH, 4 * WIDTH)
    pooled = size >= 8
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.MaxPool2d(2) if pooled else nn.Identity(),  # before the rest, which then has a quarter to do
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )
        for before, after in pairwise(widths)
    ]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
    # A third faster on a CPU; not so for a ResNet18. The stubs of `to` do not know the argument.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
