"""The split of a data set into train and val, and of train into retain and forget.

Source: Cadet et al. 2024, arXiv 2410.01276: two shuffled splits with one fixed random state, the same for
every seed. The arrays are those of scikit-learn's `train_test_split` with `random_state=123`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.contracts.parts import Part
from harness.contracts.scenario import Scenario

Index = NDArray[np.int64]

SPLIT_STATE = 123
VAL_SHARE = 0.15


def shuffled_split(count: int, share: float, state: int = SPLIT_STATE) -> tuple[Index, Index]:
    """Return positions (kept, drawn) of a shuffled split of 0..count-1, with ceil(share x count) drawn."""
    order = np.random.RandomState(state).permutation(count)
    drawn = math.ceil(share * count)
    return order[drawn:].astype(np.int64), order[:drawn].astype(np.int64)


def train_and_val(development: int) -> tuple[Index, Index]:
    """Return the indices (train, val) of the development images: 15 % are val, whatever the scenario."""
    return shuffled_split(development, VAL_SHARE)


@dataclass(frozen=True)
class Split:
    """Indices into the images of a data set (development first, then test)."""

    train: Index
    val: Index
    test: Index
    retain: Index
    forget: Index

    def of(self, part: Part) -> Index:
        """Return the indices of a part."""
        index: Index = getattr(self, part.value)
        return index


def split(labels: NDArray[np.int64], development: int, scenario: Scenario) -> Split:
    """Split a data set with the given labels [n], of which the first `development` are not test."""
    train, val = train_and_val(development)
    retain, forget = scenario.divide(labels[train])
    test = np.arange(development, len(labels), dtype=np.int64)
    return Split(train, val, test, train[retain], train[forget])


def subset_development(development: int, total: int, count: int) -> int:
    """Return how many of a subset of `count` images (0: all `total`) are development images: the same share."""
    return round(count / total * development) if count else development


def subset(labels: NDArray[np.int64], development: int, count: int) -> tuple[Index, int]:
    """Return (indices, development count) of a declared subset: the same share of development and of test."""
    keep = subset_development(development, len(labels), count)
    order = np.random.default_rng(SPLIT_STATE)
    first = np.sort(order.permutation(development)[:keep])
    rest = np.sort(order.permutation(len(labels) - development)[: count - keep]) + development
    return np.concatenate([first, rest]).astype(np.int64), keep
