"""Image files in folders of their classes: decoded one by one, and divided where nobody did it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from harness.contracts import DataCorrupt, Images

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
"""What a picture may be, whatever its name: of other formats Pillow has some read by other programs.

With JPEG goes MPO, several of them in one file, of which Pillow knows no reader by that name.
"""
MOST_PIXELS = 50_000_000
"""Of one picture: so many that a small file can unpack to are 150 MB in each thread."""
SEED = 123
SPLIT = (
    "classes and names in C order; of every class a fifth is test, in all int(n / 5) (largest remainders, then first "
    f"classes): the first of a permutation by numpy default_rng({SEED}), class by class, of those images whose pixels "
    "occur once in the data set"
)
"""How `fifth_of_every_class` divides, in words."""


def decoded(files: Mapping[str, bytes], names: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Return the pixels [n, 3, size, size] of the named image files, in that order, or raise `DataCorrupt`."""
    images = np.empty((len(names), 3, size, size), dtype=np.uint8)

    def put(position: int) -> None:
        images[position] = decode(names[position], files[names[position]], size)

    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes and resizes
        for _ in pool.map(put, range(len(names))):
            pass
    return images


def decode(name: str, content: bytes, size: int) -> NDArray[np.uint8]:
    """Return the pixels [3, size, size] of an image file as torchvision's `Resize` makes them, or raise `DataCorrupt`.

    Resized by Pillow itself (bilinear with antialiasing): exactly as published, and only one image is not yet uint8.
    """
    from PIL import Image

    try:
        opened = Image.open(BytesIO(content), formats=FORMATS)
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"more than {MOST_PIXELS:,} pixels")
        picture = opened.convert("RGB")
    except Exception as error:  # whatever Pillow raises for what is no image
        raise DataCorrupt(f"{name} is not an image that can be read; replace it by the official file") from error
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def classes_of(what: str, folders: Sequence[str], count: int) -> NDArray[np.int64]:
    """Return the class of each image by its folder: folders in C order, capitals first. Raises `DataCorrupt`."""
    names = sorted(set(folders))
    if len(names) != count:
        raise DataCorrupt(f"{what} has {count} classes, each in a folder of its own; there are {len(names)} folders")
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[folder] for folder in folders], dtype=np.int64)


def read_folders(what: str, files: Mapping[str, bytes], count: int, size: int) -> Images:
    """Return the images of `count` folders, the fifth of every class that is test last. Raises `DataCorrupt`."""
    names = sorted(files, key=lambda name: name.split("/"))
    labels = classes_of(what, [name.split("/")[0] for name in names], count)
    images = decoded(files, names, size)
    test = fifth_of_every_class(images, labels)
    order = np.concatenate([np.setdiff1d(np.arange(len(labels)), test), test])
    return Images(images, labels).take(order)


def fifth_of_every_class(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sorted index of the test images of a data set without a test part.

    No test image is in the rest, too, not even under another label: images that occur twice are never test. Raises
    `DataCorrupt` where a class has too few others.
    """
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in images]
    occurs = Counter(hashes)
    once = np.array([occurs[key] == 1 for key in hashes])
    sizes = np.bincount(labels)
    wanted = sizes // 5
    first = np.argsort(-(sizes % 5), kind="stable")[: len(labels) // 5 - wanted.sum()]
    wanted[first] += 1
    random = np.random.default_rng(SEED)
    drawn = []
    for label, count in enumerate(wanted):
        able = np.flatnonzero((labels == label) & once)
        if len(able) < count:
            raise DataCorrupt(
                f"class {label}: only {len(able)} of {sizes[label]} images occur once; {count} are needed"
            )
        drawn.append(random.permutation(able)[:count])
    return np.sort(np.concatenate(drawn)).astype(np.int64)
