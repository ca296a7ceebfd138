"""The shadow design of Deep Unlearn: halves of the data, and several forget sets drawn from each half.

Source: Cadet et al. 2024, arXiv 2410.01276, as released. Unlike `harness.farm` it is not balanced: an image is
forgotten in about 32 of the 640 models and never seen in about 320, and all forget sets of a split share one original.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

Index = NDArray[np.int64]

SPLITS, DRAWS = 64, 10
VAL_SHARE, FORGET_SHARE = 0.05, 0.1
VAL_SEED = 123


class TooFewImages(HarnessError):
    """Development data that are too few to be halved and forgotten in part."""


@dataclass(frozen=True)
class HalfSplits:
    """Indices into the development images: `val` [v], and for each of S splits a half that is trained on.

    `train` and `unseen` [S, h] are the two halves of what is not val; `retain` [S, J, h - f] and `forget` [S, J, f]
    divide the trained half anew for each of J draws.
    """

    val: Index
    train: Index
    unseen: Index
    retain: Index
    forget: Index


def half_splits(development: int, splits: int = SPLITS, draws: int = DRAWS) -> HalfSplits:
    """Return the design for so many development images: split s is drawn by seed s, forget set j of it by seed j."""
    order = np.random.default_rng(VAL_SEED).permutation(development)
    held_out = round(VAL_SHARE * development)
    pool, val = order[: development - held_out], order[development - held_out :]
    half = len(pool) // 2
    forgotten = round(FORGET_SHARE * half)
    if not forgotten:
        raise TooFewImages(f"{development} development images are too few: a forget set would be empty")
    halves = np.stack([np.random.default_rng(seed).permutation(pool) for seed in range(splits)])
    train, unseen = halves[:, :half], halves[:, half : 2 * half]
    again = np.stack([np.stack([np.random.default_rng(j).permutation(own) for j in range(draws)]) for own in train])
    kept = half - forgotten
    return HalfSplits(val, train, unseen, again[:, :, :kept], again[:, :, kept:])
