"""VGG16 with BatchNorm and the short head of small images."""

from __future__ import annotations

from torch import nn

from harness.contracts import architecture

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of each convolution; every stage ends with max-pooling."""
COUNT = sum(map(len, STAGES))


@architecture(
    stem=("0",),
    blocks=tuple(str(number) for number in range(1, COUNT)),
    head=str(COUNT + 2),
    source="Simonyan and Zisserman 2015, arXiv 1409.1556, configuration D with BatchNorm and one linear layer",
)
def vgg16_bn(channels: int, size: int, classes: int) -> nn.Module:
    """Thirteen 3 x 3 convolutions with BatchNorm in five stages, then the mean over space and a linear head.

    14,728,266 parameters for 10 classes: one linear layer instead of three, as usual for images of 32 x 32. A feature
    map of one pixel is pooled no further, so that smaller images do, too.
    """
    blocks, before = [], channels
    for stage in STAGES:
        for position, width in enumerate(stage, start=1):
            convolution = nn.Conv2d(before, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            pool = [nn.MaxPool2d(2, ceil_mode=True)] if position == len(stage) else []
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool))
            before = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
