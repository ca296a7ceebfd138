"""Wide residual networks."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from harness.contracts import architecture

WIDTHS = (160, 320, 640)
STEM_WIDTH = 16
BLOCKS_OF_GROUP = 4
"""(28 - 4) / 6: six convolutions for each block of all three groups."""


class Block(nn.Module):
    """Two 3 x 3 convolutions, each after BatchNorm and ReLU, beside the identity.

    Where the shape changes, a 1 x 1 convolution of the activated input stands for the identity.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = _convolution(before, width, 3, stride), _convolution(width, width, 3, 1)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = _convolution(before, width, 1, stride) if (before, 1) != (width, stride) else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output [B, width, H / stride, W / stride]."""
        active: Tensor = self.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        changed: Tensor = self.conv2(self.relu(self.bn2(self.conv1(active))))
        return kept + changed


@architecture(
    stem=("stem",),
    blocks=("group1", "group2", "group3"),
    head="head",
    source="Zagoruyko and Komodakis 2016, BMVC, arXiv 1605.07146",
)
def wrn28_10(channels: int, size: int, classes: int) -> nn.Module:
    """WRN-28-10 without dropout: three groups of four pre-activated blocks, ten times as wide as those of a ResNet.

    36,479,194 parameters for 10 classes.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=_convolution(channels, STEM_WIDTH, 3, 1))
    before = STEM_WIDTH
    for number, width in enumerate(WIDTHS, start=1):
        strides = (1 if number == 1 else 2, *[1] * (BLOCKS_OF_GROUP - 1))
        inputs = (before, *[width] * (BLOCKS_OF_GROUP - 1))
        layers[f"group{number}"] = nn.Sequential(
            *(Block(entering, width, stride) for entering, stride in zip(inputs, strides, strict=True))
        )
        before = width
    layers |= {"bn": nn.BatchNorm2d(before), "relu": nn.ReLU(inplace=True)}
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(before, classes)}
    return nn.Sequential(layers)


def _convolution(before: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
