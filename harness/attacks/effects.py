# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""Effects of single examples: which ones leak, how strongly, and how the audit grows with the shadows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.evaluate import Result, audit
from harness.attacks.intervals import benjamini_hochberg
from harness.attacks.signal import Bools, Floats, clip_phi
from harness.attacks.student import Integers, shrink
from harness.attacks.ulira import check_worlds

MIN_OBSERVATIONS = 3
"""Per world: of two observations no variance is worth a statement about one example."""
NORMALITY_LEVEL = 0.05

_ROUNDING = 1e-12
_LEAST_VARIANCE = 0.01


@dataclass(frozen=True)
class Effects:
    """Arrays [E], one value an example; NaN where `insufficient` (fewer than MIN_OBSERVATIONS in a world).

    `d`: (mean of U - mean of O) / sd, with the moderated sd common to both worlds; `se` its standard error.
    `p_value`: two-sided, of no difference in means (moderated t). `auc`: Mann-Whitney on phi itself, never on
    cross-fitted ratios, which anti-correlate with membership within an example; below 0.5 leaks as well.
    `k_u`, `k_o`: observations that are finite or infinite but not NaN. `correlation`: of two rows of a
    cluster, one number for all examples.
    """

    d: Floats
    se: Floats
    p_value: Floats
    auc: Floats
    k_u: Integers
    k_o: Integers
    insufficient: Bools
    correlation: float

    def flagged(self, q: float = 0.05) -> Bools:
        """Return [E] True for the examples that leak at the false-discovery rate q (Benjamini, Hochberg 1995).

        Raises:
            AttackError: q is outside of (0, 1).
        """
        if not 0.0 < q < 1.0:
            raise AttackError(f"q is {q}; it lies between 0 and 1")
        known = [None if np.isnan(p) else float(p) for p in self.p_value]
        return np.array([p is not None and p <= q for p in benjamini_hochberg(known)], dtype=np.bool_)


def example_effects(phi: npt.ArrayLike, U: npt.ArrayLike, O: npt.ArrayLike, cluster: npt.ArrayLike) -> Effects:
    """Return the effect of unlearning on each example against the null world.

    The variance is pooled over both worlds of an example and shrunk towards all examples ("moderated_common",
    Smyth 2004). Rows of a cluster are not independent: complementary training sets push phi in opposite
    directions, which makes the difference of means less certain than it looks. As in Smyth, Michaud and
    Scott 2005 (Bioinformatics 21:2067) one correlation r of rows that share a cluster is estimated over all
    examples; the variance of the difference is sd^2 c'Rc with the weights c of the two means, and the pooled
    degrees of freedom are divided by 1 + r^2. Clusters of a single row have r = 0, the ordinary two-sample
    test.

    A phi of NaN is no observation; for the AUC it takes the median of its example, the least informative
    value. Infinite phi are clipped to 1e4.

    Args:
        phi, U, O, cluster: as for `ulira`.

    Raises:
        AttackError: shapes do not fit or the worlds overlap.
    """
    values = clip_phi(phi)
    u, o, code = check_worlds(values.shape, U, O, cluster)
    known = np.isfinite(values)
    k_u, k_o = ((world & known).sum(axis=0) for world in (u, o))
    enough = np.minimum(k_u, k_o) >= MIN_OBSERVATIONS
    columns: list[Floats] = [np.full(values.shape[1], np.nan) for _ in range(4)]
    correlation = 0.0
    if enough.any():
        x, world_u, world_o = values[:, enough], u[:, enough], o[:, enough]
        *found, correlation = _moderated_t(x, world_u & known[:, enough], world_o & known[:, enough], code)
        for column, numbers in zip(columns, (*found, _aucs(x, world_u, world_o)), strict=True):
            column[enough] = numbers
    d, se, p_value, areas = columns
    return Effects(d, se, p_value, areas, k_u, k_o, ~enough, correlation)


def _moderated_t(x: Floats, u: Bools, o: Bools, code: Integers) -> tuple[Floats, Floats, Floats, float]:
    """Return d, its standard error, the p value, [E] each, and the correlation within clusters."""
    x = np.where(u | o, x, 0.0)
    k_u, k_o = u.sum(axis=0), o.sum(axis=0)
    mean_u, mean_o = (x * u).sum(axis=0) / k_u, (x * o).sum(axis=0) / k_o
    residual = np.where(u, x - mean_u, np.where(o, x - mean_o, 0.0))
    df = k_u + k_o - 2
    squares = (residual**2).sum(axis=0)
    r = _correlation(residual, squares / df, np.sqrt((1 - 1 / k_u) * (1 - 1 / k_o)), u | o, code)
    # r = 1 or -1: rows repeat or mirror each other, and half of the degrees of freedom are left
    worth = np.maximum(np.floor(df / (1 + r**2)), 1).astype(np.int64)
    smallest = max(_ROUNDING * float(np.mean(x**2)), float(np.finfo(np.float64).tiny))
    posterior, prior = shrink((squares / df)[None], worth[None], "moderated_common", smallest)
    total = prior.df[0] + worth
    weights = np.where(u, 1 / k_u, np.where(o, -1 / k_o, 0.0))
    variance = _quadratic(weights, r, code)
    d = (mean_u - mean_o) / np.sqrt(posterior[0])
    return d, np.sqrt(variance + d**2 / (2 * total)), _two_sided(d / np.sqrt(variance), total), r


def _correlation(residual: Floats, variance: Floats, shrinkage: Floats, members: Bools, code: Integers) -> float:
    """Return the mean product of the standardised residuals of two rows of a cluster, in [-1, 1].

    `shrinkage`: centring makes residuals smaller than errors, and their products with them.
    """
    useful = variance > 0
    residual, members = residual[:, useful], members[:, useful]
    rows = _cluster_sums(members.astype(np.float64), code)
    pairs = (rows * (rows - 1) / 2).sum(axis=0) * shrinkage[useful]
    if pairs.sum() == 0:
        return 0.0
    products = ((_cluster_sums(residual, code) ** 2).sum(axis=0) - (residual**2).sum(axis=0)) / 2
    return float(np.clip((products / variance[useful]).sum() / pairs.sum(), -1.0, 1.0))


def _quadratic(weights: Floats, r: float, code: Integers) -> Floats:
    """Return c'Rc of each column c: R is 1 on the diagonal and r between two rows of a cluster."""
    alone = (weights**2).sum(axis=0)
    together = (_cluster_sums(weights, code) ** 2).sum(axis=0)
    # r = 1 on complete pairs would leave no variance at all
    return np.asarray(np.maximum((1 - r) * alone + r * together, _LEAST_VARIANCE * alone), dtype=np.float64)


def _cluster_sums(x: Floats, code: Integers) -> Floats:
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(code.max() + 1))
    return np.asarray(np.add.reduceat(x[order], starts, axis=0), dtype=np.float64)


def _two_sided(t: Floats, df: Floats) -> Floats:
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(df, -np.abs(t)), dtype=np.float64)


def _aucs(x: Floats, u: Bools, o: Bools) -> Floats:
    from scipy.stats import rankdata

    members = np.where(u | o, x, np.nan)
    filled = np.where(np.isnan(members), np.nanmedian(members, axis=0), members)
    ranks = rankdata(np.where(u | o, filled, np.inf), axis=0)  # rows of neither world rank last
    n_u, n_o = u.sum(axis=0), o.sum(axis=0)
    return np.asarray(((ranks * u).sum(axis=0) - n_u * (n_u + 1) / 2) / (n_u * n_o), dtype=np.float64)


def normality(phi: npt.ArrayLike, mask: npt.ArrayLike) -> float:
    """Return the share of examples whose phi in one world is not normal: Shapiro-Wilk rejects it at 0.05.

    About 0.05 where all of them are normal. Examples with fewer than three finite phi in the world, or with
    equal ones only, are left out.

    Args:
        phi: [N, E] as for `ulira`.
        mask: [N, E] the world, U or O.

    Raises:
        AttackError: shapes do not fit, or no example is left.
    """
    from scipy.stats import shapiro

    values, world = np.asarray(phi, dtype=np.float64), np.asarray(mask, dtype=np.bool_)
    if values.ndim != 2 or world.shape != values.shape:
        raise AttackError(f"phi {list(values.shape)}, mask {list(world.shape)}; both are [N, E]")
    samples = [column[inside & np.isfinite(column)] for column, inside in zip(values.T, world.T, strict=True)]
    p_values = [shapiro(s).pvalue for s in samples if s.size >= MIN_OBSERVATIONS and np.ptp(s) > 0]
    if not p_values:
        raise AttackError(f"no example has {MIN_OBSERVATIONS} finite phi that differ; normality needs one")
    return float(np.mean(np.array(p_values) < NORMALITY_LEVEL))


def growth(
    phi: npt.ArrayLike, U: npt.ArrayLike, O: npt.ArrayLike, cluster: npt.ArrayLike, sizes: Sequence[int]
) -> list[Result]:
    """Return the AUC of the audit (`audit` at level L2, with its interval) on the first N rows, for each N.

    Clusters enter whole and in sorted order, so that a larger farm contains the smaller one.

    Args:
        phi, U, O, cluster: as for `ulira`.
        sizes: numbers of rows N, each the size of the first few clusters together.

    Raises:
        AttackError: the arrays do not fit, or a size cuts a cluster or exceeds the farm.
    """
    values = np.asarray(phi, dtype=np.float64)
    u, o, code = check_worlds(values.shape, U, O, cluster)
    ends = np.cumsum(np.bincount(code))
    results = []
    for size in sizes:
        if size not in ends:
            near = ends[np.argsort(np.abs(ends - size), kind="stable")[:2]]
            raise AttackError(f"{size} rows are no whole number of clusters; near it are {sorted(near.tolist())}")
        rows = code <= np.searchsorted(ends, size)
        results.append(audit(values[rows], u[rows], o[rows], code[rows], fprs=())[0])
    return results
