"""SVHN on MATLAB files written here: the layout of the images, the digit 0, and files that are something else."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from harness import registry
from harness.contracts import DATASETS, DataCorrupt
from harness.engine.vision import torchvision
from harness.work import official
from tasks.datasets.svhn import read_mat, svhn

registry.load()


def mat(**arrays: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays)
    return file.getvalue()


def images(count: int) -> Any:
    return np.zeros((32, 32, 3, count), dtype=np.uint8)


def test_planes_rows_and_columns_are_where_they_belong() -> None:
    pixels = images(2)
    pixels[2, 5, 0, 1] = 200  # the second image, red at row 2, column 5
    found = read_mat("train_32x32.mat", mat(X=pixels, y=np.array([[10], [7]], dtype=np.uint8))).images
    assert found.shape == (2, 3, 32, 32)
    assert found.dtype == np.uint8
    assert np.argwhere(found).tolist() == [[1, 0, 2, 5]]


def test_training_images_come_first_and_10_is_the_digit_0() -> None:
    files = {
        "train_32x32.mat": mat(X=images(3), y=np.array([[10], [1], [9]], dtype=np.uint8)),
        "test_32x32.mat": mat(X=images(2) + 1, y=np.array([[5], [10]], dtype=np.uint8)),
    }
    found = svhn(files)
    assert found.labels.tolist() == [0, 1, 9, 5, 0]
    assert found.labels.dtype == np.int64
    assert found.images.max(axis=(1, 2, 3)).tolist() == [0, 0, 0, 1, 1]


def test_files_are_checked_and_read_from_the_folder_of_the_data_set(tmp_path: Path) -> None:
    files = {
        "train_32x32.mat": mat(X=images(3), y=np.array([[2], [10], [4]], dtype=np.uint8)),
        "test_32x32.mat": mat(X=images(1), y=np.array([[6]], dtype=np.uint8)),
    }
    checksums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    spec = replace(DATASETS["svhn"], files=checksums, development=3, test=1)
    (tmp_path / "svhn").mkdir()
    for name, content in files.items():
        (tmp_path / "svhn" / name).write_bytes(content)
    assert official.read(spec, str(tmp_path)).labels.tolist() == [2, 0, 4, 6]
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(files["train_32x32.mat"])
    with pytest.raises(DataCorrupt, match=r"test_32x32.mat is not the official file \(its md5 differs\)"):
        official.read(spec, str(tmp_path))


def test_the_declared_checksums_are_those_that_torchvision_knows() -> None:
    torchvision()
    from torchvision.datasets import SVHN

    known = (SVHN.split_list[part] for part in ("train", "test"))
    assert DATASETS["svhn"].files == {name: checksum for _, name, checksum in known}


def test_what_is_no_file_of_svhn_is_refused() -> None:
    whole = mat(X=images(1), y=np.array([[3]], dtype=np.uint8))
    for content in (b"", b"<html>\n" * 100, whole[: len(whole) // 2]):
        with pytest.raises(DataCorrupt, match=r"^train_32x32.mat is no MATLAB 5 file; replace it by the official"):
            read_mat("train_32x32.mat", content)
    with pytest.raises(DataCorrupt, match=r"^test_32x32.mat holds no array y; the official one holds X and y$"):
        read_mat("test_32x32.mat", mat(X=images(1)))
