# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""U-LiRA on several observations of each release: phi before and after unlearning, or under several queries.

    phi  [D, N, E]  D matrices like that of `ulira`, row by row the same release

The level L3 of the attacker sees both models (Chen et al. 2021, arXiv 2005.02205): D = 2, phi before and after.

Each world and example has a D-dimensional Gaussian whose mean is flat and whose covariance has the prior
inverse-Wishart(d0, d0 S0). Its posterior and the predictive density of a release are (Gelman et al., Bayesian
Data Analysis, 3rd edition, section 3.6), with K observations of scatter S, df = K - 1:

    covariance  (d0 S0 + S) / (d0 + df)
    predictive  t of nu = d0 + df - D + 1 degrees, scale (d0 S0 + S) / nu * (1 + 1/K)

all without the cluster of the release. S0 has the shape of P, the scatter pooled over the examples; its size
and d0 come from the variances u = tr(P^-1 S) / (D df), one of each example, of D df degrees of freedom
(`student.fit_prior`; D d0 of its degrees are d0 here). D = 1 is the moderated variance of `ulira`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.blocks import Block, Blocks, block_slices, cluster_sums
from harness.attacks.design import Array, check_numbers
from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats, clip_phi
from harness.attacks.student import Integers, VarianceMoments, add_in_order, choose_prior, log_kernel, log_normaliser
from harness.attacks.ulira import check_worlds, ulira
from harness.errors import did_you_mean

Shrinkage = Literal["per_example", "pooled", "moderated"]
"""per_example: d0 = 0. pooled: d0 = inf, one covariance for each world. moderated: d0 is fitted."""

Queries = Literal["mean", "mean_llr", "joint"]
"""How the queries of an example become one score: `ulira` on the mean phi, the mean of the log ratios of each
query, or the log ratio of the joint density."""

_SAME = 1e-10
_FLOOR = 1e-5
_SMALLEST = 1e-12


def ulira_joint(
    phi: Sequence[npt.ArrayLike] | npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    shrinkage: Shrinkage = "moderated",
) -> Floats:
    """Return log p(phi | U) - log p(phi | O) of every cell for the joint density of D observations.

    A release with a NaN among its observations of an example is left out of the fit there and scored 0, as in
    `ulira`. Directions in which the observations do not differ in any cell, up to rounding (a share of 1e-10
    of the variance), are left out: with a method that does nothing, before and after are one observation.
    Scores do not change under phi -> A phi + b, with an invertible A that is the same for all examples.

    Args:
        phi: [D, N, E], or a sequence of D matrices [N, E], which are then not copied.
        U, O, cluster: as for `ulira`.
        shrinkage: see `Shrinkage`.

    Returns:
        float64 [N, E], in nats. NaN where the row is in neither world, and in the whole column of an example
        with fewer than D + 1 observations in a world once some cluster is left out.

    Raises:
        AttackError: as `ulira`.
    """
    return _score(_prepare(phi, U, O, cluster, shrinkage), deleted=None)


def jackknife_joint(
    phi: Sequence[npt.ArrayLike] | npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    shrinkage: Shrinkage = "moderated",
) -> Iterator[Floats]:
    """Yield `ulira_joint` on the releases that remain without one cluster, as `jackknife` does for `ulira`."""
    sample = _prepare(phi, U, O, cluster, shrinkage)
    for deleted in range(sample.clusters):
        scores = _score(sample, deleted)
        scores[sample.code == deleted] = np.nan
        yield scores


def combine(phi: Sequence[npt.ArrayLike] | npt.ArrayLike) -> Floats:
    """Return the mean [N, E] of phi [Q, N, E] over the queries; NaN where one is NaN, infinite ones are clipped."""
    matrices = _matrices(phi)
    total = clip_phi(matrices[0])
    for matrix in matrices[1:]:
        total += clip_phi(matrix)
    return total / len(matrices)


def ulira_queries(
    phi: Sequence[npt.ArrayLike] | npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    how: Queries = "mean",
) -> Floats:
    """Return the scores [N, E] of releases that were asked about each example Q times (level L4).

    Args:
        phi: [Q, N, E], one matrix for each query: the image itself, its mirror image, ...
        U, O, cluster: as for `ulira`.
        how: see `Queries`. The mean is the default; `mean_llr` is what the released code of LiRA does.

    Raises:
        AttackError: as `ulira`, or `how` is unknown.
    """
    if how not in get_args(Queries):
        raise AttackError(f"unknown way to combine queries {how!r}{did_you_mean(how, get_args(Queries))}")
    matrices = _matrices(phi)
    if how == "mean":
        return ulira(combine(matrices), U, O, cluster)
    if how == "joint":
        return ulira_joint(matrices, U, O, cluster)
    total = ulira(matrices[0], U, O, cluster)
    for matrix in matrices[1:]:
        total += ulira(matrix, U, O, cluster)
    return total / len(matrices)


def _matrices(phi: Sequence[npt.ArrayLike] | npt.ArrayLike) -> list[Array]:
    parts = phi if isinstance(phi, Sequence) else list(np.atleast_1d(check_numbers("phi", phi)))
    if not len(parts):
        raise AttackError("phi holds no matrix; it is [D, N, E], at least one matrix of releases and examples")
    matrices = [check_numbers(f"phi[{i}]", part) for i, part in enumerate(parts)]
    for i, matrix in enumerate(matrices):
        if matrix.ndim != 2 or matrix.shape != matrices[0].shape:
            shapes = f"phi[{i}] is {list(matrix.shape)}, phi[0] {list(matrices[0].shape)}"
            raise AttackError(f"{shapes}; phi is [D, N, E], all matrices have the shape of the worlds")
    return matrices


@dataclass(frozen=True)
class _Sample:
    shape: tuple[int, ...]
    dimension: int  # D, without the directions in which nothing differs
    blocks: Blocks  # the terms of their sums are x_i, then x_i x_j for i <= j
    code: Integers  # [N] cluster 0..C-1
    clusters: int
    shrinkage: Shrinkage


def _prepare(
    phi: Sequence[npt.ArrayLike] | npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    shrinkage: Shrinkage,
) -> _Sample:
    if shrinkage not in get_args(Shrinkage):
        raise AttackError(f"unknown shrinkage {shrinkage!r}{did_you_mean(shrinkage, get_args(Shrinkage))}")
    matrices = _matrices(phi)
    shape = matrices[0].shape
    u, o, code = check_worlds(shape, U, O, cluster)

    def centred(columns: slice) -> tuple[Floats, Bools]:
        return _centred([m[:, columns] for m in matrices], u[:, columns] | o[:, columns])

    def block(columns: slice) -> Block:
        return _block(axes, *centred(columns), u[:, columns], o[:, columns], code)

    moments = [_second_moments(*centred(c), u[:, c] | o[:, c]) for c in block_slices(shape)]
    axes = _axes(moments, matrices[0].size) if moments else np.eye(len(matrices))
    return _Sample(shape, len(axes), Blocks(shape, block), code, int(code.max(initial=-1)) + 1, shrinkage)


def _centred(matrices: list[Array], members: Bools) -> tuple[Floats, Bools]:
    """Return phi [D, N, B] around values near the data, 0 where a coordinate is NaN, and where that is [N, B]."""
    x = np.array([clip_phi(m) for m in matrices])
    undefined = np.isnan(x).any(axis=0)
    x -= np.median(np.where(members & ~undefined, x, 0.0), axis=1, keepdims=True)
    return np.where(undefined, 0.0, x), undefined


def _second_moments(x: Floats, undefined: Bools, members: Bools) -> Floats:
    """Return the sums [D, D, B] of x_i x_j over the rows of the worlds; x is 0 where it is undefined."""
    inside = np.where(members & ~undefined, x, 0.0)
    return np.array([[np.sum(a * b, axis=0) for b in inside] for a in inside])


def _axes(moments: list[Floats], cells: int) -> Floats:
    """Return the linear map [d, D] to d coordinates of about unit variance, without the directions of none."""
    total = np.concatenate(moments, axis=2).sum(axis=2) / cells
    spread = np.sqrt(np.diag(total))
    unit = np.divide(1.0, spread, out=np.zeros(len(total)), where=spread > 0)
    values, vectors = np.linalg.eigh(total * unit * unit[:, None])
    kept = values > _SAME
    if not kept.any():  # all cells are alike, and any one coordinate says so
        return np.eye(1, len(total))
    axes: Floats = (vectors[:, kept] / np.sqrt(values[kept])).T * unit
    return axes


def _block(axes: Floats, phi: Floats, undefined: Bools, u: Bools, o: Bools, code: Integers) -> Block:
    # not by einsum or BLAS, whose order of summation depends on the width of the block
    x = np.array([sum((a * p for a, p in zip(axis, phi, strict=True)), np.zeros(undefined.shape)) for axis in axes])
    products = [x[i] * x[j] for i, j in _pairs(len(x))]
    return Block(x, undefined, u | o, cluster_sums((*x, *products), (u & ~undefined, o & ~undefined), code))


def _pairs(dimension: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(dimension) for j in range(i, dimension)]


@dataclass(frozen=True)
class _Fit:
    """Of each world and left-out cluster, G = 2 C; the first C are those of U."""

    count: Floats  # [G, B]
    mean: Floats  # [D, G, B]
    scatter: Floats  # [D, D, G, B]
    df: Integers  # [G, B]


def _fit(sums: Floats, dimension: int) -> _Fit:
    worlds, terms, clusters, width = sums.shape
    flat = np.moveaxis(sums, 1, 0).reshape(terms, worlds * clusters, width)
    count, first, second = flat[0], flat[1 : 1 + dimension], flat[1 + dimension :]
    mean = first / count
    scatter = np.empty((dimension, dimension, *count.shape))
    for (i, j), products in zip(_pairs(dimension), second, strict=True):
        scatter[i, j] = scatter[j, i] = products - first[i] * mean[j]
        if i == j:
            np.maximum(scatter[i, i], 0.0, out=scatter[i, i])
    return _Fit(count, mean, scatter, np.rint(count).astype(np.int64) - 1)


@dataclass(frozen=True)
class _Prior:
    df: Floats  # [G] d0
    covariance: Floats  # [D, D, G, 1] S0
    smallest_pivots: Floats  # [D, G, 1] of a covariance


def _score(sample: _Sample, deleted: int | None) -> Floats:
    """Score every row with the fit without its cluster, and without the deleted one."""
    scores = np.full(sample.shape, np.nan)
    prior = _prior(sample, deleted)
    if prior is None:
        return scores
    for columns, block in sample.blocks:
        _, rest, chosen = block.scorable(sample.dimension + 1, deleted)
        if rest.shape[-1]:
            fit = _predictive(_fit(rest, sample.dimension), prior)
            x = block.x[:, :, chosen]
            ratio = fit.log_density(x, sample.code) - fit.log_density(x, sample.code + sample.clusters)
            scores[:, columns][:, chosen] = block.blank(ratio, chosen)
    return scores


def _prior(sample: _Sample, deleted: int | None) -> _Prior | None:
    """Return the priors of the 2 C fits, each from all examples without the cluster; None where there is none.

    The size of a scatter is measured against the one pooled over all rows, in which a row has a part of O(1/E).
    """
    dimension = sample.dimension
    pooled = _pooled(sample, deleted)
    if pooled is None:
        return None
    everything, rest = pooled
    factor = cholesky(everything, np.full((dimension, 2, 1), _SMALLEST))
    metric = np.repeat(_inverse_of_product(factor), sample.clusters, axis=2)  # [D, D, G, 1]
    pivots = np.array([factor[i, i] ** 2 for i in range(dimension)])
    moments = VarianceMoments(2 * sample.clusters)
    for _, block in sample.blocks:
        fit = _fit(block.scorable(dimension + 1, deleted)[1], dimension)
        sizes = (metric * fit.scatter).sum(axis=(0, 1)) / (dimension * fit.df)
        moments.add(np.maximum(sizes, _FLOOR), dimension * fit.df)
    sizes = choose_prior(moments, sample.shrinkage)
    pooled_size = (metric * rest).sum(axis=(0, 1))[:, 0] / dimension
    rescale = np.divide(sizes.variance, pooled_size, out=np.zeros_like(pooled_size), where=pooled_size > 0)
    smallest = np.repeat(_FLOOR * pivots, sample.clusters, axis=1)
    return _Prior(sizes.df / dimension, rest * rescale[:, None], smallest)


def _pooled(sample: _Sample, deleted: int | None) -> tuple[Floats, Floats] | None:
    """Return the covariances pooled over the examples, of all rows [D, D, 2, 1] and of each fit [D, D, G, 1]."""
    dimension = sample.dimension
    problems = (2, 2 * sample.clusters)
    totals = [np.zeros(dimension**2 * n) for n in problems]
    dfs = [np.zeros(n, dtype=np.int64) for n in problems]
    for _, block in sample.blocks:
        for i, sums in enumerate(block.scorable(dimension + 1, deleted)[:2]):
            if sums.shape[-1]:
                fit = _fit(sums, dimension)
                totals[i] = add_in_order(totals[i], fit.scatter.reshape(len(totals[i]), -1))
                dfs[i] += fit.df.sum(axis=1)
    if not dfs[0].any():
        return None
    everything, rest = (t.reshape(dimension, dimension, -1, 1) / df[:, None] for t, df in zip(totals, dfs, strict=True))
    return everything, rest


@dataclass(frozen=True)
class _Predictive:
    """Multivariate t of a new observation in each of G fits, see the module."""

    mean: Floats  # [D, G, B]
    factor: Floats  # [D, D, G, B] lower Cholesky factor of the posterior covariance
    spread: Floats  # [G, B] the squared scale is the posterior covariance times this
    df: Floats  # [G, B]
    log_normaliser: Floats  # [G, B]

    def log_density(self, x: Floats, fit: Integers) -> Floats:
        """Return the log density [N, B] of x [D, N, B], row i under the fit number fit[i]."""
        solved: list[Floats] = []
        for j, factor in enumerate(self.factor):
            rest = x[j] - self.mean[j][fit]
            for k, known in enumerate(solved):
                rest = rest - factor[k][fit] * known
            solved.append(rest / factor[j][fit])
        q = np.sum(np.square(solved), axis=0) / self.spread[fit]
        return self.log_normaliser[fit] - log_kernel(q, self.df[fit], len(self.mean))


def _predictive(fit: _Fit, prior: _Prior) -> _Predictive:
    dimension = len(fit.mean)
    own = fit.df / (prior.df[:, None] + fit.df)  # written so that d0 = inf is not a special case
    factor = cholesky(own * fit.scatter / fit.df + (1.0 - own) * prior.covariance, prior.smallest_pivots)
    effective = fit.df - dimension + 1
    df = prior.df[:, None] + effective
    spread = (1.0 + (dimension - 1) / df) * (1.0 + 1.0 / fit.count)
    log_determinant = sum((np.log(factor[j, j]) for j in range(dimension)), 0.5 * dimension * np.log(spread))
    normaliser = log_normaliser(effective, prior.df, dimension) - log_determinant
    return _Predictive(fit.mean, factor, spread, df, normaliser)


def cholesky(matrices: Floats, smallest: Floats) -> Floats:
    """Return lower L [D, D, ...] with L L' = the matrices, but no pivot L_jj^2 below `smallest` [D, ...]."""
    factor = np.zeros_like(matrices)
    for j in range(len(matrices)):
        row = factor[j, :j]
        pivot = np.maximum(matrices[j, j] - (row**2).sum(axis=0), smallest[j])
        factor[j, j] = np.sqrt(pivot)
        for i in range(j + 1, len(matrices)):
            factor[i, j] = (matrices[i, j] - (factor[i, :j] * row).sum(axis=0)) / factor[j, j]
    return factor


def _inverse_of_product(factor: Floats) -> Floats:
    """Return (L L')^-1 of L [D, D, G, 1], of the same shape."""
    lower = np.moveaxis(factor[..., 0], 2, 0)
    inverse = np.linalg.inv(lower @ lower.transpose(0, 2, 1))
    return np.asarray(np.moveaxis(inverse, 0, 2)[..., None], dtype=np.float64)
