"""A farm's matrix in blocks of columns: sums by world and cluster, and the same without one cluster.

Fits that leave out the cluster of the scored row need no fit anew: sums over all rows less those of the
cluster are enough. In blocks, the memory does not grow with the number of examples, and the temporaries of
one block stay in the cache of a core. No sum of this module runs across columns, so the width of the blocks
moves no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.attacks.signal import Bools, Floats
from harness.attacks.student import Integers

BLOCK_CELLS = 2**15
"""Cells of a matrix [N, E] that are worked on at a time."""

KEPT_CELLS = 2**21
"""Up to so many cells in all, blocks are kept from one pass to the next: 36 bytes a cell of paired shadows."""


@dataclass(frozen=True)
class Block:
    """B columns of a farm, in D coordinates."""

    x: Floats  # [D, N, B] what is scored, centred, 0 where undefined
    undefined: Bools  # [N, B] phi is NaN
    members: Bools  # [N, B] in either world
    sums: Floats  # [2 worlds, terms, C clusters, B], see `cluster_sums`

    def scorable(self, observations: int, deleted: int | None) -> tuple[Floats, Floats, slice | Integers]:
        """Return `leave_out` of the columns with this many observations in both worlds, and which those are."""
        everything, rest = leave_out(self.sums, deleted)
        enough = (rest[:, 0] >= observations).all(axis=(0, 1))
        if enough.all():
            return everything, rest, slice(None)
        chosen = np.flatnonzero(enough)
        return everything[..., chosen], rest[..., chosen], chosen

    def blank(self, scores: Floats, chosen: slice | Integers, neutral: float = 0.0) -> Floats:
        """Return scores of the chosen columns: neutral where phi is NaN, NaN where the row is in no world."""
        scores[self.undefined[:, chosen]] = neutral
        scores[~self.members[:, chosen]] = np.nan
        return scores


class Blocks:
    """The blocks of a farm and their columns, as often as they are asked for."""

    def __init__(self, shape: tuple[int, ...], make: Callable[[slice], Block]) -> None:
        self._slices = block_slices(shape)
        self._make = make
        self._kept = [make(columns) for columns in self._slices] if np.prod(shape) <= KEPT_CELLS else None

    def __iter__(self) -> Iterator[tuple[slice, Block]]:
        blocks = map(self._make, self._slices) if self._kept is None else self._kept
        return zip(self._slices, blocks, strict=True)


def block_slices(shape: tuple[int, ...]) -> list[slice]:
    """Return the columns of a matrix [N, E] as blocks of about BLOCK_CELLS cells, alike in width.

    None is of one column, unless E = 1: numpy sums a single column in another order than several.
    """
    rows, columns = shape
    if not (rows and columns):
        return []
    width = max(4, BLOCK_CELLS // rows)
    blocks = -(-columns // width)
    return [slice(*edges) for edges in pairwise(columns * i // blocks for i in range(blocks + 1))]


def cluster_sums(terms: Sequence[Floats], worlds: Sequence[Bools], code: Integers) -> Floats:
    """Return the sums [2, 1 + terms, C, B] of 1 and of each term [N, B] over each cluster, in each world [N, B]."""
    sums = np.zeros((len(worlds), 1 + len(terms), int(code.max()) + 1, terms[0].shape[1]))
    for rows, clusters in _one_row_of_each(code):
        for world, mask in enumerate(worlds):
            inside = mask[rows]
            sums[world, 0, clusters] += inside
            for i, term in enumerate(terms, start=1):
                sums[world, i, clusters] += term[rows] * inside
    return sums


def _one_row_of_each(code: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yield (rows, their clusters): the first rows of all clusters, then the second rows of those with two, ..."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    rank = np.arange(len(code)) - np.searchsorted(ordered, ordered)
    for i in range(int(rank.max()) + 1):
        yield order[rank == i], ordered[rank == i]


def leave_out(sums: Floats, deleted: int | None) -> tuple[Floats, Floats]:
    """Return the sums [2, terms, 1, B] over all rows, and [2, terms, C, B] over all rows but those of cluster c.

    Neither holds the rows of the deleted cluster.
    """
    everything = sums.sum(axis=2, keepdims=True)
    if deleted is None:
        return everything, everything - sums
    everything = everything - sums[:, :, deleted, None]
    rest = everything - sums
    rest[:, :, deleted] = everything[:, :, 0]  # not subtracted twice
    return everything, rest
