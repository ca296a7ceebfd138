"""SVHN, read from its two official MATLAB files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.contracts import DataCorrupt, Images, Recipe, dataset
from tasks.datasets._recipes import of_transformers

ZERO = 10
"""The label of the digit 0 in the files."""
NUMBERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""What scipy calls arrays of whole numbers."""


@dataset(
    classes=10,
    shape=(3, 32, 32),
    development=73_257,
    test=26_032,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    files={
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    # As ISPF (arXiv 2412.13790) trains on CIFAR-10: its script for SVHN is not known. The learning rate falls there to
    # a tenth at epoch 30; recipes here know no steps, hence cosine.
    recipe=Recipe(epochs=50, batch_size=256, lr=0.1, weight_decay=1e-4),
    recipes=of_transformers(50),
    folders=("SVHN", "."),
    how_to_get="train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers",
    source="Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning",
)
def svhn(files: Mapping[str, bytes]) -> Images:
    """SVHN, cropped house numbers, colour 32 x 32, 99,289 images in 10 classes."""
    train, test = (read_mat(name, files[name]) for name in ("train_32x32.mat", "test_32x32.mat"))
    return Images(np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels]))


def read_mat(name: str, content: bytes) -> Images:
    """Return the images of a file with X [32, 32, 3, n] uint8 and y [n, 1] in 1..10; raise `DataCorrupt` otherwise."""
    from scipy.io import loadmat, whosmat

    try:
        if not {kind for key, _, kind in whosmat(io.BytesIO(content)) if key in ("X", "y")} <= NUMBERS:
            raise ValueError("no arrays of whole numbers")  # to read cells in cells in cells would end the process
        arrays: dict[str, Any] = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    except Exception as error:  # whatever scipy raises for a file that is not its own
        raise DataCorrupt(f"{name} is no MATLAB 5 file; replace it by the official file") from error
    if missing := [key for key in ("X", "y") if key not in arrays]:
        raise DataCorrupt(f"{name} holds no array {missing[0]}; the official one holds X and y")
    if arrays["X"].ndim != 4 or arrays["X"].dtype != np.uint8 or arrays["y"].dtype.kind not in "ui":
        raise DataCorrupt(f"{name} holds X or y of another kind; the official one has images of 8 bits, and numbers")
    labels = arrays["y"].astype(np.int64).reshape(-1)
    return Images(np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1)), np.where(labels == ZERO, 0, labels))
