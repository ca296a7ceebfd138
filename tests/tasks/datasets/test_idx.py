"""The idx reader, and MNIST and Fashion-MNIST on files written here."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import on_disk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS, DataCorrupt
from harness.work import official
from tasks.datasets._idx import read_idx

registry.load()
both = pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=20)))
@settings(max_examples=50, deadline=None)
def test_reads_back_what_was_written(array: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(read_idx(on_disk.idx(array)), array)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x1f\x8b\x08\x00"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(DataCorrupt, match="not an idx file"):
        read_idx(content)


@given(st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_a_file_that_is_cut_short_is_refused(missing: int) -> None:
    content = on_disk.idx(np.ones((3, 4, 5), dtype=np.uint8))
    with pytest.raises(DataCorrupt, match="or not all of it"):
        read_idx(content[:-missing])


def flat(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One 28 x 28 image of each level: a flat image stays what it is when it is resized."""
    return np.broadcast_to(levels[:, None, None], (len(levels), 28, 28)).copy()


@both
@pytest.mark.parametrize("place", ["{name}", "{torchvision}/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_training_images_come_first_resized_and_labels_stay_with_their_images(
    tmp_path: Path, name: str, place: str, suffix: str
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, 10).astype(np.uint8)
    labels = levels % 10
    files = on_disk.idx_files((flat(levels[:6]), labels[:6]), (flat(levels[6:]), labels[6:]))
    torchvision = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    folder = tmp_path / place.format(name=name, torchvision=torchvision)
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / f"{file}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    checksums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    assert list(checksums) == list(DATASETS[name].files)

    found = official.read(replace(DATASETS[name], files=checksums, development=6, test=4), str(tmp_path))
    assert found.images.shape == (10, 1, 32, 32)
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.images, np.broadcast_to(levels[:, None, None, None], found.images.shape))
