"""Caltech-101 and Pins Face Recognition on folders written here, and the division of data sets without a test part."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import on_disk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS, DataCorrupt, DatasetSpec, FilePattern
from harness.work import official
from tasks.datasets._pictures import decode, fifth_of_every_class

registry.load()
OF_CALTECH = ["accordion", "Faces_easy", "yin_yang", "Faces", "barrel", "Motorbikes", *(f"c{i:03d}" for i in range(95))]
OF_PINS = ["pins_alex lawther", "pins_Zac Efron", "pins_Ben", "pins_Ben Affleck", *(f"pins_P{i}" for i in range(101))]
ORDER = {
    "caltech101": ["Faces", "Faces_easy", "Motorbikes", "accordion", "barrel", "c000"],
    "pins_face": ["pins_Ben", "pins_Ben Affleck", "pins_P0"],
}
"""The first classes: capitals first, and a folder before one whose name goes on."""
PLACE = {"caltech101": "101_ObjectCategories", "pins_face": "pins_face/105_classes_pins_dataset"}
FOLDERS = {"caltech101": OF_CALTECH, "pins_face": OF_PINS}
SIZES = {name: [3 + number % 6 for number in range(len(FOLDERS[name]))] for name in FOLDERS}
both = pytest.mark.parametrize("name", FOLDERS)


@cache
def written(name: str) -> dict[str, bytes]:
    """Three to eight small images of each class, their left half twice as bright as the number of the class."""
    files: dict[str, bytes] = {}
    classes = sorted(FOLDERS[name])
    for folder, size in zip(FOLDERS[name], SIZES[name], strict=True):
        person = folder.removeprefix("pins_")
        names = [f"image_{i + 1:04d}.jpg" if name == "caltech101" else f"{person}{i}_{7 * i}.jpg" for i in range(size)]
        label = classes.index(folder)
        files |= {f"{folder}/{file}": on_disk.marked(2 * label, 10 * label + i) for i, file in enumerate(names)}
    return files


def declared(name: str, count: int) -> DatasetSpec:
    spec = DATASETS[name]
    assert isinstance(spec.files, FilePattern)
    files = replace(spec.files, count=count)
    return replace(spec, files=files, development=count - count // 5, test=count // 5)


def keys(images: NDArray[np.uint8]) -> list[bytes]:
    return [image.tobytes() for image in images]


@both
def test_classes_are_in_c_order_and_every_image_is_of_its_folder(tmp_path: Path, name: str) -> None:
    files = written(name)
    strays = {"BACKGROUND_Google/image_0001.jpg": b"", "notes.txt": b""} if name == "caltech101" else {"read.me": b""}
    on_disk.put(tmp_path / PLACE[name], {**files, **strays})
    spec = declared(name, len(files))
    official.check([spec], str(tmp_path))
    found = official.read(spec, str(tmp_path))
    assert found.images.shape == (len(files), 3, 64, 64)
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    np.testing.assert_allclose(found.images[:, 0, :, :16].mean(axis=(1, 2)), 2 * found.labels, atol=0.9)
    sizes = dict(zip(FOLDERS[name], SIZES[name], strict=True))
    assert np.bincount(found.labels).tolist() == [sizes[folder] for folder in sorted(sizes)]
    assert sorted(sizes)[: len(ORDER[name])] == ORDER[name]


@both
def test_a_fifth_of_every_class_is_test_and_none_of_it_is_in_the_rest(name: str) -> None:
    files = written(name)
    found = DATASETS[name].read(files)
    count = len(files) // 5
    shares = np.bincount(found.labels[-count:], minlength=len(FOLDERS[name])) - np.bincount(found.labels) / 5
    assert np.abs(shares).max() < 1
    first, last = keys(found.images[:-count]), keys(found.images[-count:])
    assert len({*first, *last}) == len(files)
    assert (np.diff(found.labels[-count:]) >= 0).all()
    chosen = {keys(decode(file, content, 64)[None])[0]: file for file, content in files.items()}
    numbers = [
        sorted(f for f in files if f.split("/")[0] == chosen[key].split("/")[0]).index(chosen[key]) for key in last
    ]
    assert len(set(numbers)) > 4  # not always the first images of a class, nor the last
    again = DATASETS[name].read(dict(reversed(files.items())))
    np.testing.assert_array_equal(found.images, again.images)
    np.testing.assert_array_equal(found.labels, again.labels)


@both
def test_images_that_occur_twice_are_all_on_one_side(name: str) -> None:
    """In another class, under another name and in a file of other bytes: all of them on the side of development."""
    files, classes = written(name), sorted(FOLDERS[name])
    firsts = {file.split("/")[0]: file for file in sorted(files, reverse=True)}
    copies = {
        f"{other}/image_9999.jpg": files[firsts[one]] + b"bytes behind the end"
        for one, other in zip(classes, classes[1:] + classes[:1], strict=True)
    }
    found = DATASETS[name].read({**files, **copies})
    test = len(found.labels) // 5
    occurs = Counter(keys(found.images))
    assert sorted(occurs.values()) == [1] * (len(files) - len(classes)) + [2] * len(classes)
    assert {occurs[key] for key in keys(found.images[-test:])} == {1}
    assert found.labels.max() < len(classes)


@both
def test_a_broken_image_is_named_and_folders_are_counted(tmp_path: Path, name: str) -> None:
    files, first = written(name), min(FOLDERS[name])
    broken = next(file for file in files if file.startswith(f"{first}/"))
    on_disk.put(tmp_path / PLACE[name], {**files, broken: b"<html>"})
    with pytest.raises(DataCorrupt) as caught:
        official.read(declared(name, len(files)), str(tmp_path))
    assert str(caught.value) == f"{broken} is not an image that can be read; replace it by the official file"
    with pytest.raises(DataCorrupt, match=r"half-downloaded; get it: "):
        official.check([declared(name, len(files) + 1)], str(tmp_path))
    fewer = {file: content for file, content in files.items() if not file.startswith(f"{first}/")}
    with pytest.raises(DataCorrupt) as caught:
        DATASETS[name].read(fewer)
    count = len(FOLDERS[name])
    assert f"has {count} classes, each in a folder of its own; there are {count - 1} folders" in str(caught.value)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), twins=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_test_is_a_fifth_in_all_and_of_every_class_and_shares_no_pixels_with_the_rest(
    sizes: list[int], twins: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 1, 2, 2).copy()
    for pair in range(min(twins, len(labels) // 2)):
        images[-1 - pair] = images[pair]
    hashes = np.array([image.tobytes() for image in images])
    try:
        test = fifth_of_every_class(images, labels.astype(np.int64))
    except DataCorrupt:
        assert twins > 0
        return
    assert len(test) == len(labels) // 5
    assert (np.diff(test) > 0).all()
    assert not set(hashes[test]) & set(np.delete(hashes, test))
    assert (np.abs(np.bincount(labels[test], minlength=len(sizes)) - np.array(sizes) / 5) < 1).all()


def test_the_division_is_the_one_that_unit_ids_stand_for() -> None:
    """Another one would be another data set under the same digest: then the words of `SPLIT` have to change, too."""
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1).repeat(3, axis=1)
    assert fifth_of_every_class(images, np.arange(20) % 3).tolist() == [0, 7, 14, 18]


def test_a_class_of_copies_alone_is_refused() -> None:
    with pytest.raises(DataCorrupt, match="class 0: only 0 of 5 images occur once; 1 are needed"):
        fifth_of_every_class(np.zeros((5, 3, 2, 2), dtype=np.uint8), np.zeros(5, dtype=np.int64))
