"""Friedman's test with Nemenyi's critical difference, after Demsar 2006 (JMLR 7). Ours: the paper has no test.

It asks less than the bootstrap beside it: only the order of the methods within each block counts, and every pair is
held against one critical difference that is adjusted for all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import polars as pl

from harness.ranking.bootstrap import Bools, Floats, cell_means, ranks
from harness.ranking.panel import FailedRule, Panel, panel

Competitor = tuple[str, str]
Blocks = Literal["cells", "seeds"]

LEVEL = 0.05


@dataclass(frozen=True)
class Friedman:
    """The test of one metric in one group of cells, or the `reason` why there is none.

    `methods` and `mean_ranks` go from the best to the worst; a competitor is (method, config). `chi2` with k - 1
    degrees of freedom is corrected for ties; `f` is Iman and Davenport's with k - 1 and (k - 1)(n - 1), None where it
    is infinite because all blocks agree: then `f_p` is the chance of that, exactly (Conover 1999, Practical
    Nonparametric Statistics, section 5.8). Two methods differ at 5 % if their mean ranks are at least
    `critical_difference` apart; `cliques` are the largest sets of methods without such a pair. `left_out` has no value
    in some block, or failed.
    """

    group: str
    metric: str
    blocks: Blocks
    n: int
    left_out: tuple[Competitor, ...] = ()
    reason: str = ""
    methods: tuple[Competitor, ...] = ()
    mean_ranks: tuple[float, ...] = ()
    chi2: float | None = None
    chi2_p: float | None = None
    f: float | None = None
    f_p: float | None = None
    critical_difference: float | None = None
    cliques: tuple[tuple[Competitor, ...], ...] = ()


def friedman_tests(
    values: pl.DataFrame, metrics: Sequence[str], usable: pl.DataFrame | None = None, failed: FailedRule = "any"
) -> list[Friedman]:
    """Return the test of each metric in each group of cells; arguments as for `harness.ranking.rank`.

    Blocks are cells, by their means over seeds, or the seeds of a single cell. Raises UnknownMetric, InvalidRanking.
    """
    if not values.height:
        return []
    whole = panel(values, tuple(dict.fromkeys(metrics)), usable)
    return [_of_panel(part, metric, failed) for part in whole.groups() for metric in part.losses]


def _of_panel(part: Panel, metric: str, rule: FailedRule) -> Friedman:
    competing = np.flatnonzero(~part.references)
    names = [part.competitors[at] for at in competing]
    blocks: Blocks = "cells" if len(part.cells) > 1 else "seeds"
    losses = cell_means(part.losses[metric]) if blocks == "cells" else part.losses[metric][0][part.grid[0]]
    return friedman(
        losses[:, competing], names, blocks, failed=part.failed(rule)[competing], group=part.group, metric=metric
    )


def friedman(
    losses: Floats,
    methods: Sequence[Competitor],
    blocks: Blocks = "cells",
    *,
    failed: Bools | None = None,
    group: str = "overall",
    metric: str = "",
) -> Friedman:
    """Test losses [blocks, methods], lower is better, NaN where there is no value.

    A block in which nobody has a value is none. A method that failed, or has no value in a block that is left, is left
    out: its rank there is not known, and without the block all others would lose theirs.
    """
    out = np.zeros(len(methods), dtype=bool) if failed is None else failed
    filled = losses[~np.isnan(losses[:, ~out]).all(axis=1)]
    out = out | np.isnan(filled).any(axis=0)
    kept = np.flatnonzero(~out)
    left_out = tuple(methods[int(at)] for at in np.flatnonzero(out))
    n, k = len(filled), len(kept)
    if n < 2 or k < 2:
        return Friedman(group, metric, blocks, n, left_out, _reason(n, k, blocks))
    # As in every other rank here, what differs in the last bits is equal.
    placed = ranks(np.round(filled[:, kept], 12))
    means = placed.mean(axis=0)
    competing = [methods[int(at)] for at in kept]
    order = sorted(range(k), key=lambda at: (round(means[at], 12), competing[at]))
    ordered = tuple(competing[at] for at in order)
    sizes = tuple(float(means[at]) for at in order)
    difference = critical_difference(k, n)
    cliques = tuple(ordered[a:b] for a, b in _cliques(sizes, difference))
    return Friedman(group, metric, blocks, n, left_out, "", ordered, sizes, *_statistics(placed), difference, cliques)


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    """Return Nemenyi's critical difference of mean ranks, q sqrt(k (k + 1) / 6 n), with q the upper `level` quantile of
    the studentized range of k means and infinite degrees of freedom over sqrt(2)."""
    return _quantile(methods, level) / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * blocks))


@cache
def _quantile(methods: int, level: float) -> float:
    """Return the upper `level` quantile of the range of so many standard normal values.

    As `scipy.stats.studentized_range` with infinite degrees of freedom, whose import and integral take a second: the
    lowest value is at z with density k phi(z), and all others lie within q of it. The trapezoid rule is exact to the
    last digits for what decays as fast.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    lowest = np.linspace(-9.0, 9.0, 2001)
    density = methods * np.exp(-(lowest**2) / 2) / math.sqrt(2 * math.pi) * (lowest[1] - lowest[0])

    def above(q: float) -> float:
        return float(density @ (ndtr(lowest + q) - ndtr(lowest)) ** (methods - 1)) - (1 - level)

    return float(brentq(above, 0.0, 20.0, xtol=1e-12))


def _reason(n: int, k: int, blocks: Blocks) -> str:
    if n < 2:
        return f"{n} {blocks[:-1]}{'' if n == 1 else 's'} to compare in; the test needs at least 2 cells or 2 seeds"
    return f"{k} method{'' if k == 1 else 's'} with a value in each of {n} {blocks}; the test needs at least 2"


def _statistics(placed: Floats) -> tuple[float, float, float | None, float]:
    """Return chi2, its p value, F and its p value, of ranks [blocks, methods]."""
    from scipy.special import chdtrc, fdtrc

    n, k = placed.shape
    spread = float(((placed - (k + 1) / 2) ** 2).sum())
    if spread == 0:  # in each block all methods are equal: nothing speaks for a difference
        return 0.0, 1.0, 0.0, 1.0
    between = float(((placed.sum(axis=0) - n * (k + 1) / 2) ** 2).sum())
    statistic = (k - 1) * between / spread
    tail = float(chdtrc(k - 1, statistic))
    rest = n * (k - 1) - statistic
    if rest < 1e-9:
        return statistic, tail, None, _arrangements(placed[0]) ** (1 - n)
    ratio = (n - 1) * statistic / rest
    return statistic, tail, ratio, float(fdtrc(k - 1, (k - 1) * (n - 1), ratio))


def _arrangements(placed: Floats) -> float:
    """Return in how many ways a block can give these ranks to its methods."""
    _, ties = np.unique(placed, return_counts=True)
    return math.factorial(len(placed)) / math.prod(math.factorial(int(tie)) for tie in ties)


def _cliques(sizes: Sequence[float], difference: float) -> Iterator[tuple[int, int]]:
    """Yield the largest runs of two or more sorted mean ranks that span less than the critical difference."""
    end = 0
    for start in range(len(sizes)):
        reach = max(
            at for at in range(start, len(sizes)) if sizes[at] - sizes[start] < difference - 1e-12 or at == start
        )
        if reach + 1 > end and reach > start:
            yield start, reach + 1
        end = max(end, reach + 1)
