"""Handwritten digits of 8 x 8 pixels, embedded in scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.contracts import Images, Recipe, dataset
from tasks.datasets._recipes import of_transformers

COUNT, TEST = 1797, 359
LEVELS = 16  # a pixel counts the set bits of a 4 x 4 block: 0..16


def embedded() -> str:
    """Return the folder inside scikit-learn that holds the file, without importing scikit-learn."""
    found = find_spec("sklearn")
    return str(Path(found.origin).parent / "datasets" / "data") if found and found.origin else ""


@dataset(
    classes=10,
    shape=(1, 8, 8),
    development=COUNT - TEST,
    test=TEST,
    mean=(0.3053,),
    std=(0.3761,),
    files={"digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"},
    recipe=Recipe(epochs=20, batch_size=64, lr=0.05),
    recipes=of_transformers(40, 64),
    folders=(embedded(),),
    how_to_get="it is part of scikit-learn: pip install scikit-learn",
    source="Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test part)",
)
def digits(files: Mapping[str, bytes]) -> Images:
    """Handwritten digits, 8 x 8 grey, 1,797 images in 10 classes; the default that needs no download.

    There is no official test part: the first 359 (20 %) of a permutation by numpy's default_rng(123) are it.
    """
    rows = np.loadtxt(files["digits.csv"].decode("ascii").splitlines(), delimiter=",", dtype=np.int64)
    order = np.random.default_rng(123).permutation(COUNT)
    rows = rows[np.concatenate([order[TEST:], order[:TEST]])]
    pixels = np.rint(rows[:, :-1] * (255 / LEVELS)).astype(np.uint8)
    return Images(pixels.reshape(-1, 1, 8, 8), rows[:, -1].copy())
