"""Caltech-101, read from its folder of 101 folders."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Augmentation, FilePattern, Images, Recipe, dataset
from tasks.datasets._pictures import SPLIT, read_folders
from tasks.datasets._recipes import of_transformers

CLASSES, COUNT, SIZE = 101, 8_677, 64


@dataset(
    classes=CLASSES,
    shape=(3, SIZE, SIZE),
    development=COUNT - COUNT // 5,
    test=COUNT // 5,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    # BACKGROUND_Google is no class, and the only folder that begins with a capital B
    files=FilePattern("[!B]*/image_*.jpg", COUNT, SPLIT),
    # Epochs as in arXiv 2606.00380, where the learning rate falls in steps, networks get 32 x 32 pixels, and the first
    # 80 % of each class are development.
    recipe=Recipe(epochs=100, batch_size=128, lr=0.1),
    recipes=of_transformers(100),
    augmentation=Augmentation(crop_padding=8, flip=True),
    folders=("101_ObjectCategories", "caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories"),
    how_to_get="the folder 101_ObjectCategories of caltech-101.zip, https://data.caltech.edu/records/mzrjq-6wc02",
    source="Fei-Fei, Fergus and Perona 2004, CVPR workshop; Li et al. 2022, CaltechDATA; licence CC BY 4.0",
)
def caltech101(files: Mapping[str, bytes]) -> Images:
    """Caltech-101, colour pictures resized to 64 x 64, 8,677 images in 101 classes of 31 to 800.

    There is no official test part: a fifth of every class is it, and an image that occurs twice is not in it. There are
    no checksums of the single files either: only their number tells whether they are the official ones. Grey pictures
    are made colour ones.
    """
    return read_folders("Caltech-101", files, CLASSES, SIZE)
