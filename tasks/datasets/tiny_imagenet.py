"""Tiny-ImageNet, read from its folder of JPEG files and the list of its validation labels."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contracts import Augmentation, DataCorrupt, FilePattern, Images, Recipe, dataset
from tasks.datasets._pictures import classes_of, decoded
from tasks.datasets._recipes import of_transformers

CLASSES, TRAIN, VAL, SIZE = 200, 100_000, 10_000, 64
ANNOTATIONS = "val/val_annotations.txt"


@dataset(
    classes=CLASSES,
    shape=(3, SIZE, SIZE),
    development=TRAIN,
    test=VAL,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    # the folders train and val; the images of the folder test have no published labels
    files=FilePattern("[tv][ra]*/**/*.JPEG", TRAIN + VAL, "train is development, val is test", (ANNOTATIONS,)),
    recipe=Recipe(epochs=100, batch_size=256, lr=0.1),
    recipes=of_transformers(100),
    augmentation=Augmentation(crop_padding=8, flip=True),
    folders=("tiny-imagenet-200", "tiny_imagenet/tiny-imagenet-200"),
    how_to_get="unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    source="Le and Yang 2015, Stanford CS231N; images of ImageNet, whose terms are on its page: for non-commercial "
    "research and teaching only",
)
def tiny_imagenet(files: Mapping[str, bytes]) -> Images:
    """Tiny-ImageNet, colour 64 x 64, 110,000 images in 200 classes; not for commercial use.

    Classes are the ids of WordNet and images the names of files, both in C order. The official validation images are
    test, for those of the official test part have no labels. Grey images are made colour ones.
    """
    folders = {name: name.split("/")[1] for name in files if name.startswith("train/")}
    folders |= val_folders(files)
    names = sorted(folders, key=lambda name: (name.startswith("val/"), name.split("/")))
    labels = classes_of("Tiny-ImageNet", [folders[name] for name in names], CLASSES)
    return Images(decoded(files, names, SIZE), labels)


def val_folders(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the id of the class of each validation image by its name; raise `DataCorrupt` unless each has just one."""
    rows = [line.split("\t")[:2] for line in files[ANNOTATIONS].decode("ascii", "replace").splitlines()]
    if wrong := [row for row in rows if len(row) != 2]:
        raise DataCorrupt(f"{ANNOTATIONS}: {wrong[0][0][:40]!r} is not a name, a tab and the id of a class")
    listed = {f"val/images/{name}": folder for name, folder in rows}
    images = {name for name in files if name.startswith("val/") and name != ANNOTATIONS}
    if lost := sorted(listed.keys() ^ images):
        what = "is in the list but not in the folder" if lost[0] in listed else "is in the folder but not in the list"
        raise DataCorrupt(f"{lost[0]} {what} {ANNOTATIONS}; unpack the official files anew")
    return listed
