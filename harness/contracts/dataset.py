"""The contract of a data set: facts known before any file is read, and a reader of the official files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.contracts.catalog import Catalog, first_line
from harness.contracts.recipe import Recipe


@dataclass(frozen=True)
class Images:
    """Images [n, C, H, W] uint8 and labels [n] int64: development images first, then official test images."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: crops of zero-padded images, and horizontal flips (p = 0.5)."""

    crop_padding: int = 0
    flip: bool = False


PAPER_RECIPE = Recipe()
NO_AUGMENTATION = Augmentation()

Reader = Callable[[Mapping[str, bytes]], Images]
"""Content of each official file, uncompressed and already checked, by name -> images."""


@dataclass(frozen=True)
class DatasetSpec:
    """A declared data set.

    `shape` is what a model gets: (C, H, W); a reader may give one channel where the shape says three (grey
    images are replicated on the device). `development` and `test` count the official images. `files` maps
    each official file to the sha256 of its uncompressed content, checked whenever it is read; `folders` are
    where to look for them after the configured data folder.
    """

    name: str
    read: Reader
    classes: int
    shape: tuple[int, int, int]
    development: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: Mapping[str, str]
    recipe: Recipe
    augmentation: Augmentation
    version: int
    source: str
    folders: tuple[str, ...] = ()
    how_to_get: str = ""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module that declares it."""
        return self.read.__module__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return first_line(self.read.__doc__)

    @property
    def digest(self) -> str:
        """The declared digest of the official files: part of every unit id, known without the data."""
        return hashlib.sha256(json.dumps(dict(self.files), sort_keys=True).encode()).hexdigest()[:16]

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
    files: Mapping[str, str],
    source: str,
    recipe: Recipe = PAPER_RECIPE,
    recipes: Mapping[str, Recipe] | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    version: int = 1,
    folders: tuple[str, ...] = (),
    how_to_get: str = "",
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
                files=dict(files),
                recipe=recipe,
                recipes=dict(recipes or {}),
                augmentation=augmentation,
                version=version,
                source=source,
                folders=folders,
                how_to_get=how_to_get,
            )
        )
        return read

    return declare
