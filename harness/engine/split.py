"""The split of a data set into train, val and test, and of train into retain and forget.

Source: Cadet et al. 2024, arXiv 2410.01276: two shuffled splits with one fixed random state, the same for
every seed. The arrays are those of scikit-learn's `train_test_split` with `random_state=123`.

A data set may be cut as in the starting kit of the NeurIPS 2023 unlearning challenge instead (`val` = "test"): all
development images are train, and the official test images are halved into test and val.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import ValFrom
from harness.contracts.parts import Part
from harness.contracts.scenario import Models, Scenario, Training, forgotten_before

Index = NDArray[np.int64]

SPLIT_STATE = 123
VAL_SHARE = 0.15
KIT_STATE = 42
"""Of the starting kit's generator."""


def shuffled_split(count: int, share: float, state: int = SPLIT_STATE) -> tuple[Index, Index]:
    """Return positions (kept, drawn) of a shuffled split of 0..count-1, with ceil(share x count) drawn."""
    order = np.random.RandomState(state).permutation(count)
    drawn = math.ceil(share * count)
    return order[drawn:].astype(np.int64), order[:drawn].astype(np.int64)


def train_and_val(development: int) -> tuple[Index, Index]:
    """Return the indices (train, val) of the development images: 15 % are val, whatever the scenario."""
    return shuffled_split(development, VAL_SHARE)


def halves_of_test(count: int) -> tuple[Index, Index]:
    """Return positions (test, val) of the halves of 0..count-1 that the challenge's starting kit draws, test first.

    Those of `torch.utils.data.random_split` into two halves: of an odd count test has the one more.
    """
    import torch

    order = torch.randperm(count, generator=torch.Generator().manual_seed(KIT_STATE)).numpy()
    first = (count + 1) // 2
    return order[:first].astype(np.int64), order[first:].astype(np.int64)


def divide(development: int, total: int, val: ValFrom = "development") -> tuple[Index, Index, Index]:
    """Return the indices (train, val, test) of `total` images, of which the first `development` are not test.

    `val` says what the validation images are cut from.
    """
    if val == "test":
        test, held_out = halves_of_test(total - development)
        return np.arange(development, dtype=np.int64), held_out + development, test + development
    train, held_out = train_and_val(development)
    return train, held_out, np.arange(development, total, dtype=np.int64)


def drawn(among: Index, count: int) -> Index:
    """Return `count` of some positions in ascending order: the first of a seeded permutation, so that draws nest."""
    order = np.random.Generator(np.random.PCG64(SPLIT_STATE)).permutation(among)
    return np.sort(order[:count]).astype(np.int64)


@dataclass(frozen=True)
class Split:
    """Indices into the images of a data set (development first, then test).

    Train is retain, forget and `earlier`: what requests before this one have forgotten, mostly nothing.
    """

    train: Index
    val: Index
    test: Index
    retain: Index
    forget: Index
    earlier: Index

    def of(self, part: Part) -> Index:
        """Return the indices of a part."""
        index: Index = getattr(self, part.value)
        return index

    @property
    def left(self) -> Index:
        """The indices of train, in its order, without what earlier requests have forgotten."""
        return self.train[~np.isin(self.train, self.earlier)]


def split(
    whole: Training,
    development: int,
    scenario: Scenario,
    val: ValFrom = "development",
    models: Models | None = None,
) -> Split:
    """Split a data set of which all labels [n] are given and the first `development` are not test; `val` as above.

    `models` answer about train, for scenarios that ask them.
    """
    train, held_out, test = divide(development, len(whole.labels), val)
    training = replace(whole.at(train), models=models)
    retain, forget = scenario.divide(training)
    earlier = forgotten_before(scenario, training)
    return Split(train, held_out, test, train[retain], train[forget], train[earlier])


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
