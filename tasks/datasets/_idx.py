"""The idx files of the MNIST family: four of them, grey images of 28 x 28 pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.contracts import DataCorrupt, Images
from harness.engine.images import resize

SIDE = 28


def read_four(files: Mapping[str, bytes], size: int) -> Images:
    """Return the training and then the test images, resized to `size` x `size`, of the four official files."""
    images = [_shaped(files, f"{part}-images-idx3-ubyte", (SIDE, SIDE)) for part in ("train", "t10k")]
    labels = [_shaped(files, f"{part}-labels-idx1-ubyte", ()) for part in ("train", "t10k")]
    return Images(resize(np.concatenate(images)[:, None], size), np.concatenate(labels).astype(np.int64))


def _shaped(files: Mapping[str, bytes], name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the array of a file, one thing of a shape after the other; raise `DataCorrupt` where it is another."""
    try:
        array = read_idx(files[name])
    except DataCorrupt as error:
        raise DataCorrupt(f"{name}: {error}") from error
    if array.shape[1:] != shape:  # images of no pixels at all would be resized to gigabytes
        raise DataCorrupt(
            f"{name} holds an array {array.shape}, not one [n, {SIDE}, {SIDE}] of images or [n] of labels"
        )
    return array


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an idx file of unsigned bytes: magic 0, 0, 8, rank; big-endian sizes; the data."""
    rank = content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, 4 + 4 * rank, 4)]
    if not rank or len(content) != 4 + 4 * rank + math.prod(shape):
        raise DataCorrupt("not an idx file of unsigned bytes, or not all of it; replace it by the official file")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
