"""The paired hierarchical bootstrap: draw cells, then seeds within each drawn cell, alike for all methods.

A cell is here dataset x scenario x architecture, without the method. Tables of values are arrays [cells,
seeds, methods] of float64 with NaN where there is no value. The statistic is the mean over cells of the
mean over seeds (Davison and Hinkley 1997, section 3.8, describe the resampling of nested data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVEL = 0.95

# The same numbers summed in another order differ in their last bits, and methods that are equal must tie.
_DECIMALS = 12


def hierarchical_mean(values: Floats) -> Floats:
    """Return the mean over cells of the mean over seeds, [methods], of values [cells, seeds, methods].

    Means are over what is there; a method without any value has NaN.
    """
    return np.round(_mean_of_present(_mean_of_present(values, axis=1), axis=0), _DECIMALS)


def cell_means(values: Floats) -> Floats:
    """Return the mean over the seeds that are there, [cells, methods], of values [cells, seeds, methods]; else NaN."""
    return np.round(_mean_of_present(values, axis=1), _DECIMALS)


def cell_spreads(values: Floats) -> Floats:
    """Return the standard deviation (n - 1) over seeds, [cells, methods]; NaN for fewer than two values."""
    present = ~np.isnan(values)
    squares = np.where(present, (values - _mean_of_present(values, axis=1)[:, None, :]) ** 2, 0.0).sum(axis=1)
    counts = present.sum(axis=1).astype(np.float64)
    return np.sqrt(_ratio(squares, np.where(counts > 1, counts - 1, np.nan)))


def has_replicates(values: Floats) -> Bools:
    """Say for each method, [methods], whether some cell has two seeds: else no spread is known at all."""
    return np.asarray((~np.isnan(values)).sum(axis=1).max(axis=0, initial=0) >= 2)


@dataclass(frozen=True, eq=False)
class Resample:
    """Draws of cells and seeds, made once and used for every method and metric: that is the pairing.

    A drawn table has as many cells as the real one. `places[c]` says where cell c was drawn (position x draws
    + draw) and `counts[c]`, [len(places[c]), seeds], how often each of its seeds was drawn there. With a
    single cell only its seeds are drawn, so that intervals speak of that cell alone; `resampled` says so.
    """

    draws: int
    places: tuple[NDArray[np.intp], ...]
    counts: tuple[Floats, ...]

    @property
    def resampled(self) -> Literal["seeds", "cells and seeds"]:
        """What varies between the draws."""
        return "seeds" if len(self.places) == 1 else "cells and seeds"

    @property
    def widening(self) -> float:
        """The factor by which draws are moved away from the point value: sqrt(n / (n - 1)) t(n - 1) / z.

        A bootstrap of n replicates has a variance that is too small by (n - 1) / n, and normal tails instead of
        Student's t with n - 1 degrees of freedom (the reasoning of the expanded percentile interval, Hesterberg 2015,
        The American Statistician 69). n is the number of seeds of a single cell, else the number of cells, but at
        least 3: two cells alone would widen by 9, which is more than their seeds leave open.
        """
        if len(self.places) > 1:
            return _widening(max(3, len(self.places)))
        return _widening(np.count_nonzero(self.counts[0].any(axis=0)))

    def means(self, values: Floats) -> Floats:
        """Return the statistic of each draw, [draws, methods], of values [cells, seeds, methods].

        The draws are widened about the point value by `widening`, alike for all methods.

        Means are over what is there: a drawn cell counts for a method if one of its drawn seeds has a
        value. A draw in which a method has no value at all is NaN.
        """
        cells, _, methods = values.shape
        cell_means = np.empty((cells * self.draws, methods))
        for table, places, counts in zip(values, self.places, self.counts, strict=True):
            present = ~np.isnan(table)
            if present.all():  # what every method has was drawn as often for each
                cell_means[places] = counts @ table / counts.sum(axis=1, keepdims=True)
            else:
                sums = counts @ np.where(present, table, 0.0)
                cell_means[places] = _ratio(sums, counts @ present.astype(np.float64))
        means = _mean_of_present(cell_means.reshape(cells, self.draws, methods), axis=0)
        point = hierarchical_mean(values)
        return np.round(point + self.widening * (means - point), _DECIMALS)


def resample(grid: Bools, *, draws: int = 10_000, seed: int = 0) -> Resample:
    """Draw from grid [cells, seeds], which says which seeds each cell has; every cell has at least one."""
    random = np.random.default_rng(seed)
    cells, seeds = grid.shape
    drawn = random.integers(cells, size=cells * draws)
    places = tuple(np.flatnonzero(drawn == cell) for cell in range(cells))
    counts = []
    for where, row in zip(places, grid, strict=True):
        own = np.flatnonzero(row)
        picked = own[random.integers(len(own), size=(len(where), len(own)))]
        flat = picked + seeds * np.arange(len(where))[:, None]
        counted = np.bincount(flat.ravel(), minlength=len(where) * seeds)
        counts.append(counted.reshape(len(where), seeds).astype(np.float64))
    return Resample(draws, places, tuple(counts))


def interval(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the percentile interval (low, high), each [methods], of draws [draws, methods].

    The ends are draws, not interpolated, so an interval of ranks has ranks as its ends; NaN draws are left
    out. Measured share of nominal 95 % intervals that hold the true mean of normal values (4,000 simulations
    of 2,000 draws, widened): one cell with 2, 3, 4, 5, 10, 20 seeds 93, 95, 94, 94, 95, 95 %; 2, 3, 5, 10
    cells with 3 seeds each, cells spread as much as seeds, 97, 99, 98, 97 %. Without the widening, one cell
    of 3 seeds would have 75 %, and 10 seeds 91 %.
    """
    ordered = np.sort(np.ascontiguousarray(draws.T), axis=1)
    low, high = _ends(np.count_nonzero(~np.isnan(ordered), axis=1), level)
    rows = np.arange(len(ordered))
    return ordered[rows, low], ordered[rows, high]


def differs_from_zero(draws: Floats, level: float = LEVEL) -> Bools:
    """Say for each column, [methods], if `interval(draws)` lies on one side of 0; False if all is NaN."""
    finite = np.count_nonzero(~np.isnan(draws), axis=0)
    tail, _ = _ends(finite, level)  # the number of draws on either side of the interval
    above = np.count_nonzero(draws <= 0, axis=0) <= tail
    below = np.count_nonzero(draws >= 0, axis=0) <= tail
    return np.asarray((finite > 0) & (above | below))


def _ends(finite: NDArray[np.intp], level: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the ends of an interval among `finite` sorted draws."""
    low = np.floor((1 - level) / 2 * finite + 1e-9).astype(np.intp)
    return low, finite - 1 - low


def ranks(losses: Floats) -> Floats:
    """Return the rank of each method in each row of losses [draws, methods]; 1 is the lowest loss.

    Ties share the mean of their places. A NaN loss has the rank NaN and does not count for the others.
    """
    columns = np.ascontiguousarray(losses.T)
    ranked = np.empty(columns.shape)
    for method, own in enumerate(columns):
        better, equal = np.sum(columns < own, axis=0), np.sum(columns == own, axis=0)
        ranked[method] = np.where(np.isnan(own), np.nan, better + (equal + 1) / 2)
    return np.asarray(ranked.T)


@cache
def _widening(replicates: int) -> float:
    from scipy.special import stdtrit

    if replicates < 2:  # then no interval is given anyway
        return 1.0
    tail = 1 - (1 - LEVEL) / 2
    student, normal = float(stdtrit(replicates - 1, tail)), NormalDist().inv_cdf(tail)
    return math.sqrt(replicates / (replicates - 1)) * student / normal


def _mean_of_present(values: Floats, axis: int) -> Floats:
    present = ~np.isnan(values)
    if present.all() and values.shape[axis]:
        return np.asarray(values.sum(axis=axis) / values.shape[axis])
    sums = np.where(present, values, 0.0).sum(axis=axis)
    return _ratio(sums, present.sum(axis=axis).astype(np.float64))


def _ratio(sums: Floats, counts: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
