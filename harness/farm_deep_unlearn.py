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
_DRAW = "draw"


class TooFewImages(HarnessError):
    """Development data that are too few to be halved and forgotten in part."""


@dataclass(frozen=True)
class HalfSplit:
    """Indices into the development images of one split: the half that is trained on and the other one, [h] each."""

    train: Index
    unseen: Index

    def draw(self, number: int) -> tuple[Index, Index]:
        """Return (retain [h - f], forget [f]) of a draw: the trained half, permuted by the draw's number as seed."""
        again = np.random.default_rng(number).permutation(self.train)
        kept = len(again) - _forgotten(len(again))
        return again[:kept], again[kept:]


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


def held_out(development: int) -> tuple[Index, Index]:
    """Return indices (pool, val) of so many development images: 5 % are val, and in no half of any split.

    Raises `TooFewImages` where a forget set would be empty.
    """
    order = np.random.default_rng(VAL_SEED).permutation(development)
    kept = development - round(VAL_SHARE * development)
    if not _forgotten(kept // 2):
        raise TooFewImages(f"{development} development images are too few: a forget set would be empty")
    return order[:kept], order[kept:]


def half_split(development: int, split: int) -> HalfSplit:
    """Return one split of the design: the pool of `held_out`, permuted by the split's number as seed, and halved."""
    pool, _ = held_out(development)
    order, half = np.random.default_rng(split).permutation(pool), len(pool) // 2
    return HalfSplit(order[:half], order[half : 2 * half])


def half_splits(development: int, splits: int = SPLITS, draws: int = DRAWS) -> HalfSplits:
    """Return the design for so many development images: split s is drawn by seed s, forget set j of it by seed j."""
    halves = [half_split(development, split) for split in range(splits)]
    parts = [[half.draw(number) for number in range(draws)] for half in halves]
    return HalfSplits(
        val=held_out(development)[1],
        train=np.stack([half.train for half in halves]),
        unseen=np.stack([half.unseen for half in halves]),
        retain=np.stack([[retain for retain, _ in own] for own in parts]),
        forget=np.stack([[forget for _, forget in own] for own in parts]),
    )


def draw_name(number: int) -> str:
    """Return the name by which a farm knows a draw, such as `draw0`: what a unit of it forgets."""
    return f"{_DRAW}{number}"


def draw_number(name: str) -> int:
    """Return the number of a draw from its name."""
    return int(name.removeprefix(_DRAW))


def _forgotten(half: int) -> int:
    return round(FORGET_SHARE * half)
