"""What data-free unlearning is made of: a generator, its losses, the filters of its images, the targets.

A student is trained from scratch on generated images, with the original as its teacher; neither sees a real image.
Source of all formulas: the ISPF paper, arXiv 2412.13790, in the form of its released code, but for GKT's filter.
Shapes: logits t (teacher) and s (student) are [B, C], F are the ids of the classes to forget.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from harness.contracts import ImageFormat, Run, View
from harness.errors import HarnessError

CLASS_REQUESTS = ("class", "classes")
"""The scenarios that name what to forget by its class."""


class NotAClassRequest(HarnessError):
    """A data-free method was asked to forget something else than some of the classes."""


class UnsuitableTeacher(HarnessError):
    """An original that cannot teach: other classes than the data set's, or without what a loss needs."""


def classes_to_forget(data: View, threshold: float = 0.0) -> list[int]:
    """Return F; raise `NotAClassRequest` where it is empty or leaves fewer than two classes to keep.

    Warns of a threshold of a uniform answer or more: an image that says nothing to the teacher is then free of F.
    """
    forget = sorted(data.forget_classes)
    if not forget:
        raise NotAClassRequest(f"method {data.method!r} forgets whole classes; use a scenario such as class:3")
    if data.classes - len(forget) < 2:
        raise NotAClassRequest(
            f"method {data.method!r} was asked to forget {len(forget)} of {data.classes} classes; two must be left"
        )
    if threshold >= 1:
        warnings.warn(f"{data.method}: a threshold of {threshold:g} lets even a uniform answer pass", stacklevel=2)
    return forget


def check_teacher(teacher: nn.Module, data: View, run: Run) -> None:
    """Raise `UnsuitableTeacher` where the original's answers are not one for each class of the data set."""
    with torch.no_grad():
        answered = teacher(torch.zeros(1, *data.images.shape, device=run.device)).shape[1]
    if answered != data.classes:
        raise UnsuitableTeacher(f"the original knows {answered} classes, the data set has {data.classes}")


class Normalise(nn.Module):
    """From pixels in [0, 1] to what a classifier gets, [B, C, H, W] both."""

    mean: Tensor
    std: Tensor

    def __init__(self, images: ImageFormat) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(images.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(images.std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (pixels - mean) / std."""
        scaled: Tensor = (pixels - self.mean) / self.std
        return scaled


def generator(images: ImageFormat, noise: int, output: Sequence[nn.Module], bias: bool = False) -> nn.Module:
    """Return a generator of images from noise [B, `noise`]: a linear layer to H/4 x W/4, then two doublings.

    `output` comes behind the last convolution: a sigmoid and the normalisation, or a BatchNorm; `bias` is that of the
    other two. With 256 dimensions of noise and no bias it has 4,581,955 parameters at 3 x 32 x 32. Raises
    `UnsuitableTeacher` where a side is no multiple of 4.
    """
    channels, height, width = images.shape
    if height % 4 or width % 4:
        raise UnsuitableTeacher(f"images of {height} x {width} cannot be generated; each side must be a multiple of 4")
    return nn.Sequential(
        nn.Linear(noise, noise * (height // 4) * (width // 4)),
        nn.Unflatten(1, (noise, height // 4, width // 4)),
        nn.BatchNorm2d(noise),
        *_doubling(noise, 128, bias),
        *_doubling(128, 64, bias),
        nn.Conv2d(64, channels, 3, padding=1),
        *output,
    )


def _doubling(before: int, after: int, bias: bool) -> Sequence[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=bias)
    return nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)


def divergences(teacher: Tensor, student: Tensor) -> Tensor:
    """Return k [B, C] = T (log T - log S): summed over the classes it is KL(teacher || student) of each image."""
    wanted = log_softmax(teacher, dim=1)
    return wanted.exp() * (wanted - log_softmax(student, dim=1))


def adversarial(teacher: Tensor, student: Tensor) -> Tensor:
    """Return -KL(teacher || student), mean over the batch: the generator looks for what the student has not learned."""
    return -divergences(teacher, student).sum(1).mean()


def inhibited(teacher: Tensor, student: Tensor, forget: Sequence[int]) -> Tensor:
    """Return IS, Inhibited Synthesis: the divergence on F minus that on the other classes, mean over the batch.

    Minimising it raises the divergence on the classes to keep and drives the teacher's probability of F to 0, as long
    as the student knows nothing of F. With an empty F it is `adversarial`.
    """
    each = divergences(teacher, student)
    return (2 * each[:, list(forget)].sum(1) - each.sum(1)).mean()


def certainty(teacher: Tensor) -> Tensor:
    """Return the cross-entropy of the teacher's logits with their own argmax, mean over the batch."""
    return cross_entropy(teacher, teacher.argmax(1))


def evenness(teacher: Tensor) -> Tensor:
    """Return sum p log p of the teacher's mean probabilities p [C]: lowest where all classes are equally frequent."""
    mean = softmax(teacher, dim=1).mean(0)
    return (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, in forward passes inside the block, how far the input of each BatchNorm2d is from what it has kept.

    One number per layer: ||running_var - var||_2 + ||running_mean - mean||_2, with the biased variance over batch and
    space (Yin et al. 2020, arXiv 1912.08795).
    """
    distances: list[Tensor] = []

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        distances.append((layer.running_var - variance).norm() + (layer.running_mean - mean).norm())

    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    try:
        yield distances
    finally:
        for hook in hooks:
            hook.remove()


def let_through(teacher: Tensor, forget: Sequence[int], threshold: float) -> Tensor:
    """Return which images [B] GKT's band-pass filter keeps: every probability of F below the threshold.

    Chundawat et al. 2023, IEEE TIFS, arXiv 2201.05629.
    """
    return (softmax(teacher, dim=1)[:, list(forget)] < threshold).all(1)


def not_taken_for(teacher: Tensor, forget: Sequence[int]) -> Tensor:
    """Return which images [B] BlockF keeps: the teacher's answer is none of F."""
    return ~torch.isin(teacher.argmax(1), torch.tensor(list(forget), device=teacher.device))


def post_filtered(teacher: Tensor, forget: Sequence[int], threshold: float, iterate: bool = False) -> Tensor:
    """Return the logits [B, C] after PF, PostFilter: what F holds above the row's minimum goes to the other classes.

    A class of F is emptied where its probability is above the threshold. The row's sum and the probabilities among the
    other classes stay. With several classes to forget, one that was below the threshold only beside another may then
    be the largest; `iterate` repeats until none is above it (not in the paper).
    """
    once = _post_filtered_once(teacher, forget, threshold)
    while iterate and not let_through(once, forget, threshold).all():
        # A class of F that is the row's minimum and yet above the threshold cannot be lowered any more.
        again = _post_filtered_once(once, forget, threshold)
        if torch.equal(again, once):
            break
        once = again
    return once


def _post_filtered_once(teacher: Tensor, forget: Sequence[int], threshold: float) -> Tensor:
    is_forgotten = torch.zeros(teacher.shape[1], dtype=torch.bool, device=teacher.device)
    is_forgotten[list(forget)] = True
    lowest = teacher.min(1, keepdim=True).values
    selected = (softmax(teacher, dim=1) > threshold) & is_forgotten
    taken = ((teacher - lowest) * selected).sum(1, keepdim=True)
    kept = teacher + taken / (~is_forgotten).sum()
    return torch.where(is_forgotten, torch.where(selected, lowest, teacher), kept)
