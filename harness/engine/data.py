"""Images that live on the device as uint8, and batches made from them in one call each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from harness.contracts.dataset import Augmentation, DatasetSpec, Images
from harness.contracts.view import Batch
from harness.engine.images import rotate
from harness.engine.tally import Tally


@dataclass(frozen=True)
class DeviceData:
    """All images [n, C, H, W] uint8 and labels [n] int64 of a data set, on one device, with normalisation."""

    images: Tensor
    labels: Tensor
    scale: Tensor
    shift: Tensor
    augmentation: Augmentation

    @classmethod
    def put(cls, images: Images, spec: DatasetSpec, device: torch.device) -> DeviceData:
        """Move a data set to the device; mean and standard deviation of the spec are for pixels in [0, 1]."""
        mean = torch.tensor(spec.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(spec.std, device=device).view(1, -1, 1, 1)
        return cls(
            torch.from_numpy(images.images).to(device),
            torch.from_numpy(images.labels).to(device),
            1.0 / (255.0 * std),
            -mean / std,
            spec.augmentation,
        )

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def relabelled(self, labels: Tensor) -> DeviceData:
        """Return the same images with other labels [n]; the images are shared."""
        return replace(self, labels=labels)

    def batch(
        self, index: Tensor, flips: Tensor | None = None, offsets: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """Return normalised float images [B, C, H, W]; grey ones are replicated to the channels of the mean.

        `flips` [B] bool mirrors images, `offsets` [B, 2] moves the crop window inside the zero-padded image, `angles`
        [B] in degrees then turns it. Augmentation comes before normalisation, so padding is black.
        """
        images = self.images.index_select(0, index)
        if offsets is not None:
            images = crop(images, offsets, self.augmentation.crop_padding)
        if flips is not None:
            images = mirror(images, flips)
        pixels = images.to(self.scale.dtype)
        return normalise(pixels if angles is None else rotate(pixels, angles), self.scale, self.shift)


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Return windows [B, C, H, W] of zero-padded images, image b starting at offsets[b] in 0..2 x padding.

    In memory the channels come last, by which the last bits of a convolution go.
    """
    (count, channels, height, width), device = images.shape, images.device
    padded = functional.pad(images, (padding,) * 4)
    tall, wide = padded.shape[2:]
    # Row by row: every row of a window is a run of `width` pixels in memory, ten times as fast as pixel by pixel.
    corners = torch.arange(count, device=device) * (channels * tall * wide) + offsets[:, 0] * wide + offsets[:, 1]
    planes = torch.arange(channels, device=device)[:, None] * (tall * wide)
    rows = torch.arange(height, device=device) * wide
    starts = (corners[:, None, None] + planes + rows).view(-1)
    windows = padded.view(-1).unfold(0, width, 1).index_select(0, starts).view(images.shape)
    return torch.stack(windows.unbind(1), -1).permute(0, 3, 1, 2)


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """Return uint8 images [B, C, H, W], mirrored where `flips` [B] says so."""
    # Differences wrap around at 256 and so come out right; six times as fast as `where` over pixels.
    chosen = flips.to(images.dtype).view(-1, 1, 1, 1)
    return images.flip(3).sub_(images).mul_(chosen).add_(images)


def normalise(pixels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return `pixels` [B, C, H, W] x `scale` + `shift` [1, C, 1, 1], in the layout that they have in memory."""
    count, channels, height, width = pixels.shape
    channels_last = pixels.is_contiguous(memory_format=torch.channels_last) and not pixels.is_contiguous()
    if channels != shift.shape[1] or not channels_last:
        return torch.addcmul(shift, pixels, scale)
    # Row by row: runs of three numbers are too short for a processor.
    rows = pixels.permute(0, 2, 3, 1).view(count, height, width * channels)
    normalised = torch.addcmul(shift.view(-1).repeat(width), rows, scale.view(-1).repeat(width))
    return normalised.view(count, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PartSamples:
    """One part of a data set as a method sees it; implements `harness.contracts.Samples`.

    Batches are `even`, or full ones and a last one with the rest; `tally` counts what is drawn.
    """

    data: DeviceData
    index: Tensor
    generator: torch.Generator
    even: bool = True
    tally: Tally | None = None
    labels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.data.labels.index_select(0, self.index))

    @property
    def ids(self) -> Tensor:
        """The index [n] of each image among all of the data set."""
        return self.index

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, size: int, *, shuffle: bool = True, augment: bool = False) -> Iterator[Batch]:
        """Yield one pass; the order and the augmentation are drawn on the CPU, once, at its start."""
        order, changes = self.draw(shuffle=shuffle, augment=augment)
        note = None if self.tally is None else self.tally.of_pass(order)
        order = order.to(self.data.device)
        bounds = batch_bounds if self.even else ragged_bounds
        for start, stop in bounds(len(self), size):
            positions = order[start:stop]
            images = self.data.batch(
                self.index[positions], *(None if change is None else change[start:stop] for change in changes)
            )
            if note is not None:
                note(start, stop)
            yield Batch(images, self.labels[positions], positions)

    def draw(self, *, shuffle: bool = True, augment: bool = False) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """Draw one pass: the order [n] of the positions, on the CPU, and the augmentation of each image in that order.

        The augmentation is what `DeviceData.batch` takes, on the device.
        """
        count = len(self)
        order = torch.randperm(count, generator=self.generator) if shuffle else torch.arange(count)
        return order, self._augmentation(count) if augment else ()

    def take(self, index: Tensor) -> Self:
        """Return the samples at the given positions, in that order."""
        tally = None if self.tally is None else self.tally.take(index)
        return replace(self, index=self.index[index.to(self.data.device)], tally=tally)

    def join(self, other: Self) -> Self:
        """Return these samples followed by the others; the order is drawn from this part's generator."""
        tally = None
        if self.tally is not None and other.tally is not None:
            tally = self.tally.join(other.tally, (len(self), len(other)))
        return replace(self, index=torch.cat([self.index, other.index]), tally=tally)

    def _augmentation(self, count: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return flips, offsets and angles; what the data set does not do is None, and nothing is drawn for it."""
        rules, device = self.data.augmentation, self.data.device
        flips = offsets = angles = None
        if rules.flip:
            flips = torch.randint(2, (count,), generator=self.generator).bool().to(device)
        if rules.crop_padding:
            span = 2 * rules.crop_padding + 1
            offsets = torch.randint(span, (count, 2), generator=self.generator).to(device)
        if rules.rotation:
            turns = 2 * torch.rand(count, generator=self.generator) - 1
            angles = (rules.rotation * turns).to(device)
        return flips, offsets, angles


def batch_bounds(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of as many batches as batches of `size` would be, all of one size but for one image.

    A last batch of a few images would leave its own noise in the running statistics of BatchNorm, and one of a single
    image cannot be normalised at all: with an odd image a batch may have one more than `size`.
    """
    batches = min(math.ceil(count / size), max(1, count // 2)) if count else 0
    start = 0
    for number in range(batches):
        stop = start + count // batches + (number < count % batches)
        yield start, stop
        start = stop


def ragged_bounds(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of full batches and of a last one with the rest, as the usual loaders do."""
    for start in range(0, count, size):
        yield start, min(start + size, count)
