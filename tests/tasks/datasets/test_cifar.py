"""CIFAR-10, CIFAR-100 and CIFAR-20 on batches written here, and pickles that want more than arrays."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import on_disk
import pytest
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS, DatasetSpec
from harness.contracts.dataset import DataCorrupt
from harness.work import official
from tasks.datasets.cifar import COARSE, unpickle

registry.load()
LABELS = {"cifar10": [3, 9, 0, 1, 2, 7], "cifar10_kit": [3, 9, 0, 1, 2, 7], "cifar100": [99, 42], "cifar20": [13, 8]}
"""One image of each file, in the order in which they have to come."""
KEYS = {"cifar10": b"labels", "cifar10_kit": b"labels", "cifar100": b"fine_labels", "cifar20": b"coarse_labels"}
FURTHER = {"cifar100": {b"coarse_labels": LABELS["cifar20"]}, "cifar20": {b"fine_labels": LABELS["cifar100"]}}
OFFICIAL = {"cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz")}
OFFICIAL["cifar10_kit"] = OFFICIAL["cifar10"]
OFFICIAL["cifar100"] = OFFICIAL["cifar20"] = ("cifar-100-python", "cifar-100-python.tar.gz")
both = pytest.mark.parametrize("name", LABELS)


def rows(name: str) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (len(LABELS[name]), 3072)).astype(np.uint8)


def written(name: str) -> dict[str, bytes]:
    """Files of one image each, under the official names."""
    parts = zip(DATASETS[name].files, rows(name), LABELS[name], strict=True)
    return {
        file: on_disk.cifar(row[None], [label], KEYS[name], {key: [more[i]] for key, more in _further(name)})
        for i, (file, row, label) in enumerate(parts)
    }


def _further(name: str) -> list[tuple[bytes, list[int]]]:
    return list(FURTHER.get(name, {}).items())


def declared(name: str, files: dict[str, bytes]) -> DatasetSpec:
    checksums = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    return replace(DATASETS[name], files=checksums, development=len(files) - 1, test=1)


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)


def pack(archive: Path, folder: str, files: dict[str, bytes]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as opened:
        for file, content in {"batches.meta": b"not asked for", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))


@both
@pytest.mark.parametrize("place", ["{name}", "{folder}", "{name}/{folder}"])
def test_batches_are_read_in_order_test_last_from_every_usual_folder(tmp_path: Path, name: str, place: str) -> None:
    files = written(name)
    put(tmp_path / place.format(name=name, folder=OFFICIAL[name][0]), files)
    found = official.read(declared(name, files), str(tmp_path))
    assert found.labels.tolist() == LABELS[name]
    assert found.labels.dtype == np.int64
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.images.reshape(-1, 3072), rows(name))


@both
@pytest.mark.parametrize("place", [".", "{name}", "{folder}"])
def test_the_official_archive_is_read_as_it_is_whatever_its_order(tmp_path: Path, name: str, place: str) -> None:
    files = written(name)
    folder, archive = OFFICIAL[name]
    target = tmp_path / place.format(name=name, folder=folder) / archive
    pack(target, folder, dict(reversed(files.items())))
    found = official.read(declared(name, files), str(tmp_path))
    assert found.labels.tolist() == LABELS[name]
    np.testing.assert_array_equal(found.images.reshape(-1, 3072), rows(name))
    assert [path.name for path in target.parent.iterdir()] == [archive]


@both
def test_a_row_is_the_red_plane_then_green_then_blue_each_row_by_row(name: str) -> None:
    files = written(name)
    pixels = np.zeros((1, 3072), dtype=np.uint8)
    pixels[0, 0 * 1024 + 2 * 32 + 5] = 201  # red, third row, sixth column
    pixels[0, 1 * 1024 + 31 * 32 + 0] = 202  # green, last row, first column
    pixels[0, 2 * 1024 + 0 * 32 + 31] = 203  # blue, first row, last column
    first = next(iter(files))
    further = {key: labels[:1] for key, labels in _further(name)}
    batch = on_disk.cifar(pixels, LABELS[name][:1], KEYS[name], further)
    image = DATASETS[name].read({**files, first: batch}).images[0]
    assert [image[0, 2, 5], image[1, 31, 0], image[2, 0, 31]] == [201, 202, 203]
    assert np.count_nonzero(image) == 3


@both
def test_the_declared_checksums_are_those_that_torchvision_knows(name: str) -> None:
    from harness.engine.vision import torchvision

    torchvision()
    from torchvision.datasets import CIFAR10, CIFAR100

    known = {"cifar10": CIFAR10, "cifar10_kit": CIFAR10, "cifar100": CIFAR100, "cifar20": CIFAR100}[name]
    assert DATASETS[name].files == dict(known.train_list + known.test_list)
    assert DATASETS[name].archive == known.filename
    assert known.base_folder in DATASETS[name].folders


CLASSES_OF_CIFAR_100 = """
aquatic_mammals: beaver dolphin otter seal whale
fish: aquarium_fish flatfish ray shark trout
flowers: orchid poppy rose sunflower tulip
food_containers: bottle bowl can cup plate
fruit_and_vegetables: apple mushroom orange pear sweet_pepper
household_electrical_devices: clock keyboard lamp telephone television
household_furniture: bed chair couch table wardrobe
insects: bee beetle butterfly caterpillar cockroach
large_carnivores: bear leopard lion tiger wolf
large_man-made_outdoor_things: bridge castle house road skyscraper
large_natural_outdoor_scenes: cloud forest mountain plain sea
large_omnivores_and_herbivores: camel cattle chimpanzee elephant kangaroo
medium_mammals: fox porcupine possum raccoon skunk
non-insect_invertebrates: crab lobster snail spider worm
people: baby boy girl man woman
reptiles: crocodile dinosaur lizard snake turtle
small_mammals: hamster mouse rabbit shrew squirrel
trees: maple_tree oak_tree palm_tree pine_tree willow_tree
vehicles_1: bicycle bus motorcycle pickup_truck train
vehicles_2: lawn_mower rocket streetcar tank tractor
"""
"""The table of the official page, in the words of the file batches.meta; labels of both kinds are alphabetical."""


def test_the_class_of_every_subclass_of_cifar_20_is_that_of_the_official_table() -> None:
    lines = [line.split(":") for line in CLASSES_OF_CIFAR_100.strip().splitlines()]
    fine_of = {coarse: fine.split() for coarse, fine in lines}
    ids = {fine: label for label, fine in enumerate(sorted(fine for names in fine_of.values() for fine in names))}
    expected = np.full(100, -1)
    for label, coarse in enumerate(sorted(fine_of)):
        expected[[ids[fine] for fine in fine_of[coarse]]] = label
    assert COARSE.tolist() == expected.tolist()
    assert hashlib.sha256(bytes(COARSE.tolist())).hexdigest().startswith("ecf260ffe6b76db0")
    forgotten = {"rocket": (69, 19), "mushroom": (51, 4), "baby": (2, 14), "lamp": (40, 5), "sea": (71, 10)}
    assert {name: (ids[name], COARSE[ids[name]]) for name in forgotten} == forgotten


def fine_batches(fine: list[int], coarse: list[int]) -> dict[str, bytes]:
    """All images but the last are in the file `train`."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(fine), 3072)).astype(np.uint8)
    parts = {"train": slice(None, -1), "test": slice(-1, None)}
    return {
        name: on_disk.cifar(pixels[part], fine[part], b"fine_labels", {b"coarse_labels": coarse[part]})
        for name, part in parts.items()
    }


def test_cifar_20_is_cifar_100_under_its_coarse_labels_with_the_fine_ones_beside_them(tmp_path: Path) -> None:
    fine = np.random.default_rng(1).permutation(100).tolist()
    files = fine_batches(fine, COARSE[fine].tolist())
    put(tmp_path / "cifar100", files)
    spec = replace(declared("cifar20", files), development=99)
    found, as_100 = official.read(spec, str(tmp_path)), DATASETS["cifar100"].read(files)
    assert found.fine is not None
    assert found.fine.tolist() == as_100.labels.tolist() == fine
    assert found.labels.tolist() == COARSE[fine].tolist()
    assert np.bincount(found.labels).tolist() == [5] * spec.classes
    assert len(set(found.fine)) == spec.subclasses
    np.testing.assert_array_equal(found.images, as_100.images)
    assert as_100.fine is None
    assert spec.digest != replace(spec, subclasses=0).digest


def test_coarse_labels_that_the_fine_ones_do_not_belong_to_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="coarse labels of CIFAR-100 are not those"):
        DATASETS["cifar20"].read(fine_batches([69, 51], [19, 5]))


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("function", "code"), [(os.system, "touch {}"), (eval, "open({!r}, 'w').close()")])
def test_a_pickle_that_calls_for_anything_else_is_refused_and_not_executed(
    tmp_path: Path, protocol: int, function: Callable[..., Any], code: str
) -> None:
    touched = tmp_path / "touched"
    harm = {"data": Calls(function, code.format(str(touched))), "labels": [1]}
    content = pickle.dumps(harm, protocol)
    files = {**written("cifar10"), "data_batch_3": content}
    put(tmp_path / "cifar10", files)
    with pytest.raises(DataCorrupt, match=r"calls for \w+\.(system|eval); nothing but numpy arrays") as caught:
        official.read(declared("cifar10", files), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not touched.exists()
    pickle.loads(content)  # what it does where nobody looks
    assert touched.exists()


@pytest.mark.parametrize(
    "name",
    ["numpy load", "numpy fromfile", "numpy.core.multiarray scalar", "numpy ndarray.tofile", "copyreg __newobj__"],
)
def test_other_functions_of_numpy_are_refused_too(name: str) -> None:
    module, attribute = name.split()
    short = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, attribute)]
    by_opcode = b"c" + f"{module}\n{attribute}\n".encode(), short[0] + short[1] + b"\x93"
    for asked in by_opcode:
        with pytest.raises(DataCorrupt, match="nothing but numpy arrays"):
            unpickle(b"\x80\x04" + asked + b".")
