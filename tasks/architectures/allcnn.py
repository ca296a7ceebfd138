"""The all-convolutional network of the data-free unlearning papers."""

from __future__ import annotations

from torch import nn

from harness.contracts import architecture

LAYERS = ((96, 3, 1), (96, 3, 1), (192, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1))
"""Channels, kernel and stride of each convolution."""


@architecture(
    stem=("0",),
    blocks=tuple(str(number) for number in range(1, len(LAYERS))),
    head=str(len(LAYERS) + 2),
    source="Springenberg et al. 2015, arXiv 1412.6806, All-CNN-C with BatchNorm, as in arXiv 2412.13790",
)
def allcnn(channels: int, size: int, classes: int) -> nn.Module:
    """Eight convolutions with BatchNorm, two of stride 2, then the mean over space and a linear head.

    1,620,010 parameters for 10 classes. The mean is over all of the last feature map: 8 x 8 at 32 x 32, as published.
    """
    blocks, before = [], channels
    for width, kernel, stride in LAYERS:
        convolution = nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, bias=False)
        blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
        before = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
