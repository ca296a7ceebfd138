"""Fashion-MNIST: the official files where they are installed."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.contracts import DATASETS
from tasks.datasets._idx import read_idx

registry.load()
SPEC = DATASETS["fashion_mnist"]


@pytest.fixture(scope="module")
def official() -> dict[str, bytes]:
    """The uncompressed official files."""
    folder = Path(SPEC.folders[-1])
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
