"""Digits: the file inside scikit-learn, and scikit-learn's own reading of it."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.contracts import DATASETS, Images

registry.load()
SPEC = DATASETS["digits"]


@pytest.fixture(scope="module")
def content() -> bytes:
    return gzip.decompress((Path(SPEC.folders[0]) / "digits.csv.gz").read_bytes())


@pytest.fixture(scope="module")
def images(content: bytes) -> Images:
    return SPEC.read({"digits.csv": content})


def test_the_file_is_the_declared_one(content: bytes) -> None:
    assert hashlib.sha256(content).hexdigest() == SPEC.files["digits.csv"]


def test_counts_shapes_and_types_are_the_declared_ones(images: Images) -> None:
    assert images.images.shape == (SPEC.development + SPEC.test, *SPEC.shape) == (1797, 1, 8, 8)
    assert images.images.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert np.bincount(images.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_images_are_those_of_scikit_learn_in_a_fixed_order(images: Images) -> None:
    from sklearn.datasets import load_digits

    official = load_digits()
    order = np.random.default_rng(123).permutation(1797)
    order = [*order[359:], *order[:359]]
    pixels = np.rint(official.images[order] * 255 / 16).astype(np.uint8)
    np.testing.assert_array_equal(images.images[:, 0], pixels)
    np.testing.assert_array_equal(images.labels, official.target[order])


def test_all_seventeen_grey_levels_are_kept_apart(images: Images) -> None:
    levels = np.unique(images.images)
    assert len(levels) == 17
    assert (levels.min(), levels.max()) == (0, 255)


def test_mean_and_deviation_are_those_of_the_development_images(images: Images) -> None:
    pixels = images.images[: SPEC.development] / 255
    assert pixels.mean() == pytest.approx(SPEC.mean[0], abs=1e-3)
    assert pixels.std() == pytest.approx(SPEC.std[0], abs=1e-3)


def test_every_class_is_in_test(images: Images) -> None:
    assert np.bincount(images.labels[SPEC.development :]).min() >= 20
