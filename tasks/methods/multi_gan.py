"""Multi-GAN unlearning: wrong labels for the images to forget and for synthetic ones like them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import FORGET, RETAIN, Run, Samples, View, fixed, method, ranges
from harness.errors import HarnessError
from tasks.methods._data_free import Normalise
from tasks.methods._dcgan import NOISE, Dcgan, sampled

CHUNK = 512
"""Images that are answered at once."""


class NoInversion(HarnessError):
    """Labels that an inversion cannot turn into wrong ones."""


def mirror(labels: Tensor, logits: Tensor, draw: torch.Generator) -> Tensor:
    """Return C - 1 - y [n]: with an even number C of classes no label stays what it was."""
    classes = logits.shape[1]
    if classes % 2:
        middle = f"class {classes // 2} would keep its label"
        raise NoInversion(f"inversion 'mirror' needs an even number of classes, not {classes}: {middle}")
    return classes - 1 - labels


def least_likely(labels: Tensor, logits: Tensor, draw: torch.Generator) -> Tensor:
    """Return the class [n] that the original thinks least likely for each image."""
    return logits.argmin(1)


def random_other(labels: Tensor, logits: Tensor, draw: torch.Generator) -> Tensor:
    """Return a class [n] drawn evenly from the others, once for each image."""
    classes = logits.shape[1]
    shift = torch.randint(1, classes, labels.shape, generator=draw).to(labels.device)
    return (labels + shift) % classes


Inversion = Callable[[Tensor, Tensor, torch.Generator], Tensor]
INVERSIONS: Mapping[str, Inversion] = MappingProxyType(
    {"mirror": mirror, "least_likely": least_likely, "random_other": random_other}
)


@dataclass(frozen=True)
class Lesson:
    """Images to learn from, with the labels [n] to learn: real ones of a part, or synthetic ones [n, C, H, W]."""

    images: Samples | Tensor
    labels: Tensor

    def at(self, index: Tensor) -> Tensor:
        """Return the images at an index [b], as the classifier gets them."""
        if isinstance(self.images, Tensor):
            return self.images[index]
        return torch.cat([batch.images for batch in self.images.take(index).batches(CHUNK, shuffle=False)])


@method(
    reads={RETAIN, FORGET},
    source="Hatua, Nguyen and Sung 2024, arXiv 2407.18467; what its abstract leaves open is this harness's choice",
)
class MultiGan:
    """Fine-tune on real and synthetic images of both parts, those of forget with inverted labels.

    One GAN is fitted to retain, another to forget; the original labels what they make, `syn_ratio_retain` and
    `syn_ratio_forget` times as many images as there are to forget. Ablations: `images` real (no synthetic ones) or
    synthetic (no real ones); `gans` one, fitted to both parts, makes all synthetic images; `original_forget` left_out,
    or own_labels (real images to forget keep their labels). Where whole classes are forgotten, `mirror` sends all
    images of one to one other class.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(5)
    inversion: str = fixed("mirror", options=tuple(INVERSIONS))
    images: str = fixed("all", options=("all", "real", "synthetic"))
    gans: str = fixed("two", options=("two", "one"))
    original_forget: str = fixed("inverted", options=("inverted", "left_out", "own_labels"))
    syn_ratio_retain: float = fixed(1.0)
    syn_ratio_forget: float = fixed(1.0)
    gan_steps: int = fixed(20_000, least=1)
    gan_batch_size: int = fixed(128, least=2)
    gan_width: int = fixed(64, least=1)

    def artifacts(self) -> tuple[Dcgan, ...]:
        """Return the GANs: of retain and of forget, or the one of both that stands for each."""
        if self.images == "real":
            return ()
        parts = ("retain", "forget") if self.gans == "two" else ("both",)
        settings = {"steps": self.gan_steps, "batch_size": self.gan_batch_size, "width": self.gan_width}
        return tuple(Dcgan(of=part, **settings) for part in parts)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after fine-tuning on all lessons, mixed."""
        model.eval()
        lessons = [*self._real(model, data, run), *self._synthetic(model, data, run)]
        if not lessons:
            raise HarnessError("multi_gan has nothing to learn from: no real images, and none are to be generated")
        model.train()
        optimizer = SGD(model.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        schedule = CosineAnnealingLR(optimizer, T_max=self.epochs)
        for _ in run.epochs(self.epochs, model, optimizer, schedule):
            for images, labels in mixed(lessons, self.batch_size, run):
                run.step(optimizer, cross_entropy(model(images), labels))
        return model

    def _real(self, original: nn.Module, data: View, run: Run) -> Iterator[Lesson]:
        """Yield the images of both parts, those to forget as `original_forget` wants them."""
        if self.images == "synthetic":
            return
        forget = data.forget
        yield Lesson(data.retain, data.retain.labels)
        if self.original_forget == "own_labels":
            yield Lesson(forget, forget.labels)
        elif self.original_forget == "inverted":
            logits = answers(original, (batch.images for batch in forget.batches(CHUNK, shuffle=False)))
            yield Lesson(forget, self._invert(forget.labels, logits, run))

    def _synthetic(self, original: nn.Module, data: View, run: Run) -> Iterator[Lesson]:
        """Yield images like those of retain with the original's labels, and like those of forget with inverted ones."""
        if self.images == "real":
            return
        networks, to_input = [run.artifact(one) for one in self.artifacts()], Normalise(data.images).to(run.device)
        ratios = (self.syn_ratio_retain, self.syn_ratio_forget)
        for network, ratio, inverted in zip((networks[0], networks[-1]), ratios, (False, True), strict=True):
            if not (count := round(ratio * len(data.forget))):
                continue
            noise = torch.randn(count, NOISE, generator=run.generator).to(run.device)
            images = to_input(sampled(network, noise))
            logits = answers(original, images.split(CHUNK))
            labels = logits.argmax(1)
            yield Lesson(images, self._invert(labels, logits, run) if inverted else labels)

    def _invert(self, labels: Tensor, logits: Tensor, run: Run) -> Tensor:
        return INVERSIONS[self.inversion](labels, logits, run.generator)


def answers(original: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return the logits [n, C] of the original for batches of images."""
    with torch.no_grad():
        return torch.cat([original(images) for images in batches])


def mixed(lessons: list[Lesson], size: int, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one pass over all lessons in one shuffled order: images and labels, in batches of even size."""
    counts = [len(lesson.labels) for lesson in lessons]
    ends = torch.tensor(counts).cumsum(0)
    order = torch.randperm(sum(counts), generator=run.generator)
    for batch in order.tensor_split(max(1, min(math.ceil(len(order) / size), len(order) // 2))):
        which = torch.bucketize(batch, ends, right=True)
        own = [(batch[which == i] - (ends[i] - counts[i])).to(run.device) for i in range(len(lessons))]
        given = [(lesson, index) for lesson, index in zip(lessons, own, strict=True) if len(index)]
        yield (
            torch.cat([lesson.at(index) for lesson, index in given]),
            torch.cat([lesson.labels[index] for lesson, index in given]),
        )
