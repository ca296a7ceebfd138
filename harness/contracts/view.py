"""What a method sees of the data: the parts that it declared, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from harness.contracts.parts import FORGET, RETAIN, VAL, Part
from harness.errors import HarnessError

if TYPE_CHECKING:
    from torch import Tensor


class UndeclaredRead(HarnessError):
    """A method asked for a part that it did not declare in `reads`."""


class Batch(NamedTuple):
    """Images [B, C, H, W] float, labels [B] int64, positions [B] int64 of the images within their part."""

    images: Tensor
    labels: Tensor
    positions: Tensor


class ImageFormat(NamedTuple):
    """What a data set's images are to a model: known without any image, so that data-free methods may use it.

    `shape` is (C, H, W); `mean` and `std` [C] are those that pixels in [0, 1] are normalised with.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Samples(Protocol):
    """The images of one part, resident on the device."""

    @property
    def labels(self) -> Tensor:
        """Labels [n] int64, on the device."""

    @property
    def ids(self) -> Tensor:
        """What tells each image of the data set from all others, [n] int64, on the device.

        The same in every part, scenario and run: by it an image is found again in an artifact of the training.
        """

    def __len__(self) -> int: ...

    def batches(self, size: int, *, shuffle: bool = True, augment: bool = False) -> Iterator[Batch]:
        """Yield one pass in ceil(n / size) batches of even size: a short last one would spoil BatchNorm.

        Under `variant: reference` the batches are as released code had them: full ones, and a last one with the rest.
        """

    def take(self, index: Tensor) -> Self:
        """Return the samples at the given positions, in that order."""

    def join(self, other: Self) -> Self:
        """Return these samples followed by the others."""


@dataclass(frozen=True)
class View:
    """The data of one run as one method may see it: it keeps the declared parts only.

    `classes` is the number of classes, `images` their format; `forget_classes` are the class ids that the request
    names (empty where the forget set is not a set of classes). Reading a part that is not among `reads` raises
    `UndeclaredRead`.
    """

    method: str
    reads: frozenset[Part]
    parts: Mapping[Part, Samples]
    classes: int
    images: ImageFormat
    forget_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        declared = {part: samples for part, samples in self.parts.items() if part in self.reads}
        object.__setattr__(self, "parts", declared)

    @property
    def retain(self) -> Samples:
        """The training images to keep."""
        return self._part(RETAIN)

    @property
    def forget(self) -> Samples:
        """The training images to forget."""
        return self._part(FORGET)

    @property
    def retain_and_forget(self) -> Samples:
        """All training images: retain, followed by forget."""
        return self.retain.join(self.forget)

    @property
    def val(self) -> Samples:
        """Held-out images for choosing, never for the reported numbers."""
        return self._part(VAL)

    def _part(self, part: Part) -> Samples:
        if part not in self.reads:
            declared = ", ".join(sorted(self.reads)) or "no part at all"
            raise UndeclaredRead(f"method {self.method!r} read the {part} part, but it declares only: {declared}")
        return self.parts[part]
