"""Tiny-ImageNet on a folder written here: labels, order, and what can be missing or wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import on_disk
import pytest

from harness import registry
from harness.contracts import DATASETS, DataCorrupt, DatasetSpec, FilePattern
from harness.work import official
from harness.work.official import DataMissing

registry.load()
SPEC = DATASETS["tiny_imagenet"]
IDS = [f"n{number:08d}" for number in np.random.default_rng(0).permutation(200) * 41_213 + 1_443_537]
"""Ids of WordNet in the order of `wnids.txt`, which is not the alphabetical one."""
OF = {name: label for label, name in enumerate(sorted(IDS))}
TRAIN, VAL = 400, 200
LIST = "val/val_annotations.txt"


@cache
def written() -> dict[str, bytes]:
    """Two training images and one validation image of each class: its number in red, theirs in green."""
    train = {name: [on_disk.colour(OF[name], 90 * i, 0) for i in range(2)] for name in IDS}
    return on_disk.tiny_imagenet(train, [(name, on_disk.colour(OF[name], 250, 0)) for name in reversed(IDS)])


def declared() -> DatasetSpec:
    assert isinstance(SPEC.files, FilePattern)
    return replace(SPEC, files=replace(SPEC.files, count=TRAIN + VAL), development=TRAIN, test=VAL)


@pytest.mark.parametrize("place", ["tiny_imagenet", "tiny-imagenet-200", "tiny_imagenet/tiny-imagenet-200"])
def test_training_images_come_by_class_then_the_official_validation_images_by_name(tmp_path: Path, place: str) -> None:
    on_disk.put(tmp_path / place, written())
    official.check([declared()], str(tmp_path))
    found = official.read(declared(), str(tmp_path))
    assert found.images.shape == (600, 3, 64, 64)
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    val_order = sorted(range(VAL), key=str)  # val_10.JPEG comes before val_2.JPEG
    val = [OF[IDS[VAL - 1 - number]] for number in val_order]
    assert found.labels.tolist() == [label for label in range(200) for _ in range(2)] + val
    colours = found.images.mean(axis=(2, 3))
    np.testing.assert_allclose(colours[:, 0], found.labels, atol=3)
    np.testing.assert_allclose(colours[:, 1], [0, 90] * 200 + [250] * 200, atol=3)


def test_grey_images_are_made_colour_ones_and_pixels_stay_where_they_are(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    name = f"train/{sorted(IDS)[0]}/images/{sorted(IDS)[0]}_0.JPEG"
    on_disk.put(tmp_path / "tiny_imagenet", {**written(), name: on_disk.jpeg(ramp)})
    image = official.read(declared(), str(tmp_path)).images[0]
    np.testing.assert_array_equal(image[0], image[2])
    np.testing.assert_allclose(image[1], ramp, atol=4)


def refused(folder: Path, files: dict[str, bytes], kind: type[Exception] = DataCorrupt) -> str:
    on_disk.put(folder / "tiny_imagenet", files)
    with pytest.raises(kind) as caught:
        official.read(declared(), str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(name: str) -> dict[str, bytes]:
    return {key: content for key, content in written().items() if key != name}


def test_a_broken_or_a_missing_image_is_named(tmp_path: Path) -> None:
    train = f"train/{IDS[7]}/images/{IDS[7]}_1.JPEG"
    message = refused(tmp_path / "broken", {**written(), train: written()[train][:200]})
    assert message == f"{train} is not an image that can be read; replace it by the official file"
    moved = without("val/images/val_17.JPEG") | {"val/images/val_x.JPEG": b""}
    assert refused(tmp_path / "moved", moved).startswith("val/images/val_17.JPEG is in the list but not in the folder")
    rows = written()[LIST].replace(b"val_199.JPEG", b"val_198.JPEG")
    message = refused(tmp_path / "list", {**written(), LIST: rows})
    assert (
        message
        == f"val/images/val_199.JPEG is in the folder but not in the list {LIST}; unpack the official files anew"
    )


def test_a_list_that_is_missing_or_no_list_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path / "none", without(LIST), DataMissing)
    assert message.startswith(
        f"data set 'tiny_imagenet' is incomplete: {tmp_path}/none/tiny_imagenet lacks {LIST}; get"
    )
    message = refused(tmp_path / "html", {**written(), LIST: b"<html>"})
    assert message == f"{LIST}: '<html>' is not a name, a tab and the id of a class"


def test_half_of_the_images_and_classes_too_many_are_refused(tmp_path: Path) -> None:
    half = {name: content for name, content in written().items() if "_1.JPEG" not in name or name.startswith("val")}
    message = refused(tmp_path / "half", half)
    assert "has 400 files [tv][ra]*/**/*.JPEG, declared are 600: half-downloaded; get it: unpack" in message
    unknown = written()[LIST].replace(IDS[0].encode(), b"n99999999")
    message = refused(tmp_path / "unknown", {**written(), LIST: unknown})
    assert message == "Tiny-ImageNet has 200 classes, each in a folder of its own; there are 201 folders"
