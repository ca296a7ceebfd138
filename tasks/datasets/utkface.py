"""UTKFace, aligned and cropped: five classes of age, read from the names of the files."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from harness.contracts import DataCorrupt, FilePattern, Images, Recipe, dataset
from tasks.datasets._pictures import decoded
from tasks.datasets._recipes import of_transformers

COUNT, TEST = 23_708, 4_741
SIZE = 224
SPLIT = "names sorted; numpy default_rng(123).permutation(n): the first int(0.2 n) are test, the rest development"
OLDEST = 150
YEARS_PER_CLASS, LAST_CLASS = 20, 4


@dataset(
    classes=LAST_CLASS + 1,
    shape=(3, SIZE, SIZE),
    development=COUNT - TEST,
    test=TEST,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    files=FilePattern("*.jpg", COUNT, SPLIT),
    recipe=Recipe(epochs=50, batch_size=128, lr=0.1),
    recipes=of_transformers(50),
    folders=("UTKface_Aligned_cropped/UTKFace",),
    how_to_get="the folder UTKFace of 'Aligned & Cropped Faces', https://susanqq.github.io/UTKFace/ "
    "(for non-commercial research only)",
    source="Zhang, Song and Qi 2017, arXiv 1702.08423; for non-commercial research only: the terms are on its page",
)
def utkface(files: Mapping[str, bytes]) -> Images:
    """UTKFace, colour faces resized to 224 x 224, 23,708 images in 5 classes of age: 0-19, 20-39, 40-59, 60-79, 80+.

    There is no official test part: a fifth of a permutation of the sorted names is it. There are no official checksums
    either: only names and their number tell whether the files are the official ones.
    """
    names = sorted(files)
    test = int(0.2 * len(names))
    order = np.random.default_rng(123).permutation(len(names))
    chosen = [names[i] for i in (*order[test:], *order[:test])]
    ages = np.array([age(name) for name in chosen])
    return Images(decoded(files, chosen, SIZE), np.clip(ages // YEARS_PER_CLASS, 0, LAST_CLASS).astype(np.int64))


def age(name: str) -> int:
    """Return the age in years that stands before the first underscore of a file name, or raise `DataCorrupt`."""
    found = re.match("([0-9]{1,3})_", name)
    if found is None or int(found[1]) > OLDEST:
        raise DataCorrupt(f"{name}: before the first underscore must stand an age from 0 to {OLDEST}")
    return int(found[1])
