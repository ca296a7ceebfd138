"""What the restatements of the released code (Deep Unlearn, arXiv 2410.01276) share: problem, optimisers, rates.

Nothing of the harness's loops, losses and schedules is used: batches, optimisers and rates are written out. What
`variant: reference` of a method returns must be what the function of its name returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, pad, softmax

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, VAL
from harness.engine.seeding import generator

BLOCKS = {
    "cnn_small": ("1", "2"),
    "resnet18": ("layer1",),
    "tinyvit_tiny": ("stages.1", "stages.2", "stages.3"),
}
HEAD = {"cnn_small": "5", "resnet18": "fc", "tinyvit_tiny": "head.fc"}


class Block(nn.Module):
    """Two convolutions beside a shortcut, with the names of torchvision's."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (inner + self.downsample(x)).relu()


class SmallResNet(nn.Module):
    """A ResNet of one block: it has the names of a ResNet18, and its steps take milliseconds in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.layer1, self.fc = Block(8, 16), nn.Linear(16, tiny.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.bn1(self.conv1(x)).relu()).mean((2, 3)))


def original(architecture: str, precision: torch.dtype) -> nn.Module:
    """Return the model to unlearn from; `resnet18` stands for the small one, untrained."""
    if architecture != "resnet18":
        return tiny.own_copy(architecture, precision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallResNet().to(precision)


class Batch(NamedTuple):
    """Images [B, C, H, W], labels [B], and their places [B] in the index that they were taken from."""

    images: Tensor
    labels: Tensor
    places: Tensor


@dataclass
class Problem:
    """The original of an architecture, the parts, and the one source of randomness."""

    architecture: str
    precision: torch.dtype = torch.float64
    retain: Tensor = field(default_factory=lambda: tiny.uneven_parts()[RETAIN])
    forget: Tensor = field(default_factory=lambda: tiny.uneven_parts()[FORGET])
    val: Tensor = field(default_factory=lambda: tiny.uneven_parts()[VAL])
    order: torch.Generator = field(default_factory=lambda: generator("order", 0))
    model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.model = original(self.architecture, self.precision)

    def layer(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def teacher(self) -> nn.Module:
        return deepcopy(self.model).eval()

    def batches(self, index: Tensor, size: int, shuffle: bool = True, augment: bool = False) -> Iterator[Batch]:
        """Yield full batches and a last one with the rest."""
        count = len(index)
        places = torch.randperm(count, generator=self.order) if shuffle else torch.arange(count)
        images = torch.from_numpy(tiny.images().images)[index[places]].to(self.precision) / 255
        labels = torch.from_numpy(tiny.images().labels)[index[places]]
        if augment:
            images = self.augmented(images)
        mean, std = (torch.tensor(v, dtype=self.precision).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
        for start in range(0, count, size):
            chosen = slice(start, start + size)
            yield Batch((images[chosen] - mean) / std, labels[chosen], places[chosen])

    def augmented(self, images: Tensor) -> Tensor:
        """Return random windows of the images in a black border of one pixel, half of them mirrored."""
        count, _, height, width = images.shape
        flips = torch.randint(2, (count,), generator=self.order)
        corners = torch.randint(3, (count, 2), generator=self.order)
        windows = [
            bordered[:, top : top + height, left : left + width]
            for bordered, (top, left) in zip(pad(images, (1, 1, 1, 1)), corners.tolist(), strict=True)
        ]
        return torch.stack([w.flip(2) if flip else w for w, flip in zip(windows, flips.tolist(), strict=True)])


class SGD:
    """Gradient descent with momentum; weight decay is added to the gradient, after a mask."""

    def __init__(self, parameters: Sequence[Tensor], lr: float, momentum: float = 0, decay: float = 0) -> None:
        self.parameters, self.lr, self.momentum, self.decay = list(parameters), lr, momentum, decay
        self.velocity = [torch.zeros_like(p) for p in self.parameters]

    def step(self, loss: Tensor, masks: Sequence[Tensor] | None = None) -> None:
        gradients: Sequence[Tensor] = torch.autograd.grad(loss, self.parameters)
        if masks is not None:
            gradients = [g * m for g, m in zip(gradients, masks, strict=True)]
        with torch.no_grad():
            for p, g, v in zip(self.parameters, gradients, self.velocity, strict=True):
                v.mul_(self.momentum).add_(g + self.decay * p)
                p.sub_(self.lr * v)


class Adam:
    """Kingma and Ba 2015, arXiv 1412.6980, with weight decay added to the gradient."""

    def __init__(self, parameters: Sequence[Tensor], lr: float, decay: float) -> None:
        self.parameters, self.lr, self.decay, self.steps = list(parameters), lr, decay, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    def step(self, loss: Tensor) -> None:
        self.steps += 1
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for p, g, m, s in zip(self.parameters, gradients, self.first, self.second, strict=True):
                g = g + self.decay * p
                m.mul_(0.9).add_(0.1 * g)
                s.mul_(0.999).add_(0.001 * g**2)
                deviation = (s / (1 - 0.999**self.steps)).sqrt() + 1e-8
                p.sub_(self.lr * m / (1 - 0.9**self.steps) / deviation)


def optimiser(p: Problem, v: Any) -> SGD:
    return SGD(list(p.model.parameters()), v.lr, v.momentum, v.weight_decay)


def cosine(step: int, steps: int, start: float, end: float = 0.0) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def stepped(epoch: int, epochs: int, decay: float) -> float:
    """Return the factor of a rate that falls at 50, 80 and 90 % of the epochs."""
    return decay ** sum(int(share * epochs) < epoch for share in (0.5, 0.8, 0.9))


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of softened outputs, summed over classes, averaged over the batch."""
    wanted = softmax(teacher / temperature, 1)
    return (wanted * (wanted.log() - log_softmax(student / temperature, 1))).sum() / len(student)


def uniform(shape: torch.Size, bound: float, order: torch.Generator) -> Tensor:
    """Return numbers between -bound and bound, drawn in single precision."""
    return torch.empty(shape).uniform_(-bound, bound, generator=order)
