"""Pins Face Recognition, read from its folder of 105 folders."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Augmentation, FilePattern, Images, Recipe, dataset
from tasks.datasets._pictures import SPLIT, read_folders
from tasks.datasets._recipes import of_transformers

CLASSES, COUNT, SIZE = 105, 17_534, 64


@dataset(
    classes=CLASSES,
    shape=(3, SIZE, SIZE),
    development=COUNT - COUNT // 5,
    test=COUNT // 5,
    mean=(0.51623, 0.41910, 0.37332),
    std=(0.28628, 0.25529, 0.24607),
    files=FilePattern("*/*.jpg", COUNT, SPLIT),
    # Epochs as in arXiv 2606.00380, where the learning rate falls in steps, and all images are train and test at once.
    recipe=Recipe(epochs=200, batch_size=128, lr=0.1),
    recipes=of_transformers(200),
    augmentation=Augmentation(crop_padding=8, flip=True),
    folders=("105_classes_pins_dataset", "pins_face/105_classes_pins_dataset"),
    how_to_get="the folder 105_classes_pins_dataset of https://www.kaggle.com/datasets/hereisburak/"
    "pins-face-recognition (photographs whose owners gave no licence that is known: for research only)",
    source="hereisburak, Kaggle, Pins Face Recognition; no licence of the photographs' owners is known: for research "
    "only, do not pass images on",
)
def pins_face(files: Mapping[str, bytes]) -> Images:
    """Pins Face Recognition, colour faces resized to 64 x 64, 17,534 images of 105 people, each a class; for research.

    There is no official test part: a fifth of every person's images is it, and an image that occurs twice is not in it.
    There are no official checksums either: only the number of files tells whether they are the official ones.
    """
    return read_folders("Pins Face Recognition", files, CLASSES, SIZE)
