"""Fashion-MNIST: the idx reader on files written here, and the official files where they are installed."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harness import registry
from harness.contracts import DATASETS
from tasks.datasets.fashion_mnist import read_idx

registry.load()
SPEC = DATASETS["fashion_mnist"]


def written_as_idx(array: NDArray[np.uint8]) -> bytes:
    """The format by Yann LeCun: two zero bytes, type 8 (unsigned byte), rank, sizes as big-endian int32, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=20)))
@settings(max_examples=50, deadline=None)
def test_reads_back_what_was_written(array: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(read_idx(written_as_idx(array)), array)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00", b"\x1f\x8b\x08\x00"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an idx file"):
        read_idx(content)


@given(st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_a_file_that_is_cut_short_is_refused(missing: int) -> None:
    content = written_as_idx(np.ones((3, 4, 5), dtype=np.uint8))
    with pytest.raises(ValueError, match="reshape"):
        read_idx(content[:-missing])


def test_training_images_come_first_resized_and_labels_stay_with_their_images() -> None:
    rng = np.random.default_rng(0)
    parts = {"train": rng.integers(0, 256, (6, 28, 28)), "t10k": rng.integers(0, 256, (4, 28, 28))}
    files, flat = {}, {}
    for label, (part, images) in enumerate(parts.items()):
        images[:] = images.mean(axis=(1, 2), keepdims=True)  # a flat image stays what it is when it is resized
        flat[part] = images[:, 0, 0]
        files[f"{part}-images-idx3-ubyte"] = written_as_idx(images.astype(np.uint8))
        files[f"{part}-labels-idx1-ubyte"] = written_as_idx(np.full(len(images), label, dtype=np.uint8))
    found = SPEC.read(files)
    assert found.images.shape == (10, 1, 32, 32)
    assert found.images.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, [0] * 6 + [1] * 4)
    np.testing.assert_array_equal(found.images[:, 0, 16, 16], [*flat["train"], *flat["t10k"]])
    assert (found.images == found.images[:, :, :1, :1]).all()


@pytest.fixture(scope="module")
def official() -> dict[str, bytes]:
    """The uncompressed official files."""
    folder = Path(SPEC.folders[0])
    paths = {name: folder / f"{name}.gz" for name in SPEC.files}
    if not all(path.is_file() for path in paths.values()):
        pytest.skip(f"Fashion-MNIST is not in {folder}; get it: {SPEC.how_to_get}")
    return {name: gzip.decompress(path.read_bytes()) for name, path in paths.items()}


def test_the_official_files_have_the_declared_checksums(official: dict[str, bytes]) -> None:
    assert {name: hashlib.sha256(content).hexdigest() for name, content in official.items()} == SPEC.files


def test_the_official_counts_are_the_declared_ones(official: dict[str, bytes]) -> None:
    for part, count in (("train", SPEC.development), ("t10k", SPEC.test)):
        assert read_idx(official[f"{part}-images-idx3-ubyte"]).shape == (count, 28, 28)
        labels = read_idx(official[f"{part}-labels-idx1-ubyte"])
        assert np.bincount(labels).tolist() == [count // 10] * 10


def test_mean_and_deviation_are_those_of_the_official_training_pixels(official: dict[str, bytes]) -> None:
    pixels = read_idx(official["train-images-idx3-ubyte"])
    weights = np.bincount(pixels.ravel(), minlength=256) / pixels.size
    levels = np.arange(256) / 255
    mean = float(weights @ levels)
    deviation = float(np.sqrt(weights @ (levels - mean) ** 2))
    np.testing.assert_allclose(SPEC.mean, mean, atol=1e-3)
    np.testing.assert_allclose(SPEC.std, deviation, atol=1e-3)
