"""ResNet18 with its ImageNet stem, and with a stem for small images."""

from __future__ import annotations

from torch import nn

from harness.contracts import architecture
from harness.engine.vision import torchvision

BLOCKS = ("layer1", "layer2", "layer3", "layer4")
SOURCE = "He et al. 2016, CVPR; torchvision"


@architecture(stem=("conv1",), blocks=BLOCKS, head="fc", source=SOURCE)
def resnet18(channels: int, size: int, classes: int) -> nn.Module:
    """ResNet18 as in torchvision: 7 x 7 stem of stride 2 and max-pooling, whatever the image size."""
    model = _resnet18(classes)
    if channels != 3:
        model.conv1 = _first_convolution(channels, kernel=7, stride=2)
    return model


@architecture(stem=("conv1",), blocks=BLOCKS, head="fc", source=SOURCE)
def resnet18_cifar(channels: int, size: int, classes: int) -> nn.Module:
    """ResNet18 for small images: 3 x 3 stem of stride 1, no max-pooling."""
    model = _resnet18(classes)
    model.conv1 = _first_convolution(channels, kernel=3, stride=1)
    model.maxpool = nn.Identity()
    return model


def _resnet18(classes: int) -> nn.Module:
    model: nn.Module = torchvision().models.resnet18(weights=None, num_classes=classes)
    return model


def _first_convolution(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
