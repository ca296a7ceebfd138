"""UTKFace on small JPEG files written here: labels and order from the names, and everything that can be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import on_disk
import pytest
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS, DatasetSpec
from harness.contracts.dataset import DataCorrupt, FilePattern
from harness.errors import HarnessError
from harness.work import official

registry.load()
SPEC = DATASETS["utkface"]
AGES = [0, 1, 19, 20, 39, 40, 59, 60, 79, 80, 116, 150]
CLASSES = {0: 0, 1: 0, 19: 0, 20: 1, 39: 1, 40: 2, 59: 2, 60: 3, 79: 3, 80: 4, 116: 4, 150: 4}
FACES = {f"{age}_1_0_20170109142408075.jpg.chip.jpg": age for age in AGES}


def flat(level: int, height: int = 20, width: int = 20) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, dtype=np.uint8)


def written() -> dict[str, bytes]:
    """One flat face of each age, as bright as the person is old."""
    return {name: on_disk.jpeg(flat(age)) for name, age in FACES.items()}


def put(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def declared(count: int) -> DatasetSpec:
    assert isinstance(SPEC.files, FilePattern)
    test = int(0.2 * count)
    return replace(SPEC, files=replace(SPEC.files, count=count), development=count - test, test=test)


@pytest.mark.parametrize("place", ["utkface", "UTKface_Aligned_cropped/UTKFace"])
def test_sorted_names_are_permuted_the_first_fifth_is_test_and_comes_last(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, written())
    (tmp_path / place / "notes.txt").write_text("not asked for")
    found = official.read(declared(len(AGES)), str(tmp_path))
    names = sorted(FACES)
    order = np.random.default_rng(123).permutation(12).tolist()
    ages = [FACES[names[i]] for i in order[2:] + order[:2]]
    assert ages != AGES
    assert found.images.shape == (12, 3, 224, 224)
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [CLASSES[age] for age in ages]
    brightness = found.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, ages, atol=1)


def test_the_order_does_not_depend_on_that_of_the_folder() -> None:
    files = written()
    one, two = SPEC.read(files), SPEC.read(dict(reversed(files.items())))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.images, two.images)


def test_names_without_a_race_are_fine_and_so_are_grey_and_oblong_pictures() -> None:
    grey = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (30, 1))
    found = SPEC.read({"61_1_20170109142408075.jpg.chip.jpg": on_disk.jpeg(grey)})
    assert found.labels.tolist() == [3]
    assert found.images.shape == (1, 3, 224, 224)
    assert (np.diff(found.images[0, 0].mean(axis=0)) > -1).all()  # still dark on the left and bright on the right
    np.testing.assert_array_equal(found.images[0, 0], found.images[0, 2])


@pytest.mark.parametrize(
    "name", ["abc.jpg", "_1_0.jpg", "20.jpg", "-5_0_0.jpg", "151_0_0.jpg", "9999_0_0.jpg", "1.5_0.jpg", "٣_0.jpg"]
)
def test_a_name_without_an_age_of_a_person_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / "utkface", {**written(), name: on_disk.jpeg(flat(9))})
    message = refused(declared(len(AGES) + 1), tmp_path)
    assert message == f"{name}: before the first underscore must stand an age from 0 to 150"


@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path, kept: float) -> None:
    whole = on_disk.jpeg(np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8))
    name = "33_1_0_x.jpg"
    put(tmp_path / "utkface", {**written(), name: whole[: int(kept * len(whole)) if kept < 1 else int(kept)]})
    message = refused(declared(len(AGES) + 1), tmp_path)
    assert message == f"{name} is not an image that can be read; replace it by the official file"


@pytest.mark.parametrize(("expected", "says"), [(13, "half-downloaded"), (11, "more than the official files")])
def test_another_number_of_files_is_refused(tmp_path: Path, expected: int, says: str) -> None:
    folder = put(tmp_path / "utkface", written())
    message = refused(declared(expected), tmp_path)
    assert message.startswith(f"data set 'utkface': {folder} has 12 files *.jpg, declared are {expected}: {says}; get")
    with pytest.raises(DataCorrupt):
        official.check([declared(expected)], str(tmp_path))


def refused(spec: DatasetSpec, data: Path) -> str:
    with pytest.raises(DataCorrupt) as caught:
        official.read(spec, str(data))
    assert isinstance(caught.value, HarnessError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_digest_follows_from_pattern_count_and_split_alone() -> None:
    assert isinstance(SPEC.files, FilePattern)
    others = [replace(SPEC.files, **change) for change in ({"glob": "*.png"}, {"count": 12}, {"split": "none"})]
    digests = [replace(SPEC, files=files).digest for files in (replace(SPEC.files), *others)]
    assert digests[0] == SPEC.digest
    assert len(set(digests)) == 4
