"""The contract of a data set: facts known before any file is read, and a reader of the official files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.contracts.catalog import Catalog, first_line
from harness.contracts.recipe import Recipe
from harness.contracts.view import ImageFormat
from harness.errors import HarnessError

CHECKSUMS = {32: "md5", 64: "sha256"}
"""Kinds of checksum by their number of hexadecimal digits."""


class DataCorrupt(HarnessError):
    """An official file is there, but its content is not the official one."""


class InvalidDataset(HarnessError):
    """A data set is declared with something that cannot be a checksum."""


@dataclass(frozen=True)
class Images:
    """Images [n, C, H, W] uint8 and labels [n] int64: development images first, then official test images.

    `fine` [n] int64 are the labels of subclasses, where the data set has them; each lies inside one class.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    fine: NDArray[np.int64] | None = None

    def take(self, index: NDArray[np.int64]) -> Images:
        """Return the images at the given positions, in that order."""
        return Images(self.images[index], self.labels[index], None if self.fine is None else self.fine[index])


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: crops of zero-padded images, horizontal flips (p = 0.5), rotations.

    A rotation is about the centre, by an angle uniform in -`rotation`..`rotation` degrees; corners become black.
    """

    crop_padding: int = 0
    flip: bool = False
    rotation: float = 0.0


@dataclass(frozen=True)
class FilePattern:
    """Official files without official checksums: `count` names that match `glob`, split as `split` says in words.

    Names are paths inside of the folder of the data set, with slashes. The files `also` have to be there, too.
    Content is not checked: a copy with other content under the same number of names is taken for the same data set
    and gets the same unit ids.
    """

    glob: str
    count: int
    split: str
    also: tuple[str, ...] = ()

    def declared(self) -> dict[str, object]:
        """Return what the digest of the data set follows from."""
        return {name: value for name, value in asdict(self).items() if name != "also" or value}


PAPER_RECIPE = Recipe()
NO_AUGMENTATION = Augmentation()

ValFrom = Literal["development", "test"]
"""What val is cut from: 15 % of the development images, or one half of the official test images."""

Reader = Callable[[Mapping[str, bytes]], Images]
"""Content of each official file, uncompressed and already checked, by name -> images."""


@dataclass(frozen=True)
class DatasetSpec:
    """A declared data set.

    `shape` is what a model gets: (C, H, W); a reader may give one channel where the shape says three (grey
    images are replicated on the device). `development` and `test` count the official images. `files` maps
    each official file to the sha256 or md5 of its uncompressed content, checked whenever it is read, or is a
    pattern where no checksums were published. They are looked for in the folder named after the data set, then in
    `folders` (both relative to the data folder), plain, gzipped, or inside the official tar file `archive`. `val` says
    what the validation images are cut from (`harness.engine.split`). `subclasses` counts the fine labels that a reader
    gives beside the classes; 0: none.
    """

    name: str
    read: Reader
    classes: int
    shape: tuple[int, int, int]
    development: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: Mapping[str, str] | FilePattern
    recipe: Recipe
    augmentation: Augmentation
    version: int
    source: str
    folders: tuple[str, ...] = ()
    archive: str = ""
    how_to_get: str = ""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    val: ValFrom = "development"
    subclasses: int = 0

    def __post_init__(self) -> None:
        for file, checksum in ({} if isinstance(self.files, FilePattern) else self.files).items():
            if len(checksum) not in CHECKSUMS:
                raise InvalidDataset(
                    f"data set {self.name!r}: the checksum of {file!r} has {len(checksum)} digits; "
                    "a sha256 has 64, an md5 has 32"
                )

    @property
    def module(self) -> str:
        """The module that declares it."""
        return self.read.__module__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return first_line(self.read.__doc__)

    @property
    def format(self) -> ImageFormat:
        """What its images are to a model."""
        return ImageFormat(self.shape, self.mean, self.std)

    @property
    def digest(self) -> str:
        """The declared digest of the official files: part of every unit id, known without the data.

        Two data sets of the same files that are cut in other ways, or labelled in other ways, have two digests.
        """
        files = self.files
        declared: dict[str, object] = files.declared() if isinstance(files, FilePattern) else dict(files)
        if self.val != "development":
            declared = {"files": declared, "val": self.val}
        if self.subclasses:
            declared = {"files": declared, "subclasses": self.subclasses}
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]

    def recipe_for(self, architecture: str) -> Recipe:
        """Return the recipe of an architecture on this data set."""
        return self.recipes.get(architecture, self.recipe)


DATASETS: Catalog[DatasetSpec] = Catalog("dataset")
"""What is declared, by name."""


def dataset(
    *,
    classes: int,
    shape: tuple[int, int, int],
    development: int,
    test: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    files: Mapping[str, str] | FilePattern,
    source: str,
    recipe: Recipe = PAPER_RECIPE,
    recipes: Mapping[str, Recipe] | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    version: int = 1,
    folders: tuple[str, ...] = (),
    archive: str = "",
    how_to_get: str = "",
    val: ValFrom = "development",
    subclasses: int = 0,
) -> Callable[[Reader], Reader]:
    """Declare `read(files) -> Images` as a data set, under the function's name."""

    def declare(read: Reader) -> Reader:
        DATASETS.declare(
            DatasetSpec(
                name=read.__name__,
                read=read,
                classes=classes,
                shape=shape,
                development=development,
                test=test,
                mean=mean,
                std=std,
                files=files if isinstance(files, FilePattern) else dict(files),
                recipe=recipe,
                recipes=dict(recipes or {}),
                augmentation=augmentation,
                version=version,
                source=source,
                folders=folders,
                archive=archive,
                how_to_get=how_to_get,
                val=val,
                subclasses=subclasses,
            )
        )
        return read

    return declare
