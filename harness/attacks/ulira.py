# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""U-LiRA: the likelihood-ratio test of "was this example trained and then unlearned, or not?".

Hayes et al. 2024 (arXiv 2403.01218), after LiRA of Carlini et al. 2022 (arXiv 2112.03570). On plain arrays:

    phi      [N, E]  one row per release (an unlearned shadow model), one column per audited example
    U        [N, E]  True where the release was trained on the example and then unlearned it
    O        [N, E]  True where the release belongs to the null: the example was never in its training set
                     (`stack_retrains` builds the other null, exact retrains)
    cluster  [N]     releases that are not independent share a value: a pair of shadows with
                     complementary training sets, and everything derived from it

The score of a release is fitted without the release's cluster. Fitting with it rewards itself: under no
leakage the AUC of 16 shadows comes out near 0.63. Leaving out the one row only is biased the other way,
because the row's own world then has one observation fewer than the other: 0.45 to 0.49 at 8 and 16 shadows.
Without the cluster it is 0.5 to within 0.002.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.attacks.blocks import Block, Blocks, cluster_sums
from harness.attacks.design import Array, check_cluster, check_mask, check_numbers, refuse_overlap
from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats, clip_phi
from harness.attacks.student import (
    NEUTRAL,
    Integers,
    LiraVariant,
    Prior,
    Variance,
    VarianceMoments,
    check_variant,
    choose_prior,
    compare,
    posterior_variance,
    predictive,
    variance_floor,
)

MIN_OBSERVATIONS = 2
"""Per world, without any one cluster: a variance needs two. With complementary pairs that makes 3 in all."""

_ROUNDING = 1e-12


def ulira(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    variance: Variance = "moderated",
    *,
    fit_phi: npt.ArrayLike | None = None,
    variant: LiraVariant = "online",
) -> Floats:
    """Return log p(phi | U) - log p(phi | O) of every cell, fitted without the cluster of its release.

    Both densities are Student-t predictive distributions around the mean of the world, with the variance of
    the chosen mode; the prior of the moderated modes is fitted without the cluster as well. Higher = more
    likely unlearned; 0 = equal odds.

    A phi of NaN (a diverged release) is left out of the fit and scored 0: a release without a signal tells
    nothing, and dropping its row instead would be a selection that may depend on membership. Infinite phi
    are clipped to 1e4.

    The examples are worked on in blocks: beyond its arguments and the result the memory stays below 200 MB
    for any number of examples, as long as the masks are bool. Blocks of another size give the same bits.

    Args:
        phi, U, O, cluster: see the module. phi may be a memory map, of any number type.
        variance: one of `student.VARIANCES`.
        fit_phi: [N, E] fit on this matrix instead, for example on the original models of the same shadows
            (the non-adaptive attacker, level L1).
        variant: one of LIRA_VARIANTS. The offline ones score z or z squared of phi under O instead of the log
            ratio, with U in the place of IN: cheap screening, for U need not be known to the attacker. A phi of
            NaN then scores the mean of that under O, 0 or 1.

    Returns:
        float64 [N, E], in nats (offline: no unit). NaN where the row is in neither world, and in the whole column of an
        example with fewer than MIN_OBSERVATIONS observations in a world once some cluster is left out.

    Raises:
        AttackError: shapes do not fit, an array holds something else than it should, the worlds overlap, or
            a name is unknown or does not go with the other.
    """
    return _score(_prepare(phi, U, O, cluster, variance, fit_phi, variant), deleted=None)


def jackknife(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    variance: Variance = "moderated",
    *,
    fit_phi: npt.ArrayLike | None = None,
    variant: LiraVariant = "online",
) -> Iterator[Floats]:
    """Yield `ulira` on the releases that remain without one cluster, for each cluster in sorted order.

    Every array is [N, E] like the full one, NaN in the deleted rows. The sums of the deleted cluster are
    subtracted; of up to 2 million cells nothing is summed again.
    """
    sample = _prepare(phi, U, O, cluster, variance, fit_phi, variant)
    for deleted in range(sample.clusters):
        scores = _score(sample, deleted)
        scores[sample.code == deleted] = np.nan
        yield scores


def check_worlds(
    shape: tuple[int, ...], U: npt.ArrayLike, O: npt.ArrayLike, cluster: npt.ArrayLike
) -> tuple[Bools, Bools, Integers]:
    """Return the two masks and the clusters as codes 0..C-1 in sorted order.

    Raises:
        AttackError: the shapes differ from [N, E] and [N], an array holds something else than it should, or a
            cell is in both worlds. It names the array, and the row and example where there is one.
    """
    if len(shape) != 2:
        raise AttackError(f"phi is {list(shape)}; phi, U and O are matrices, they are [N, E]")
    u, o, ids = check_mask("U", U), check_mask("O", O), check_cluster(cluster)
    for name, array, expected in (("U", u, shape), ("O", o, shape), ("cluster", ids, shape[:1])):
        if array.shape != expected:
            raise AttackError(
                f"{name} is {list(array.shape)} where phi is {list(shape)}; "
                "phi, U and O have one shape, they are [N, E], and cluster is [N]"
            )
    refuse_overlap(u, o)
    return u, o, np.unique(ids, return_inverse=True)[1].astype(np.int64)


def stack_retrains(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    cluster: npt.ArrayLike,
    retrain_phi: npt.ArrayLike,
    retrain_cluster: npt.ArrayLike,
) -> tuple[Floats, Bools, Bools, npt.NDArray[np.generic]]:
    """Return (phi, U, O, cluster) of the test against exact retrains: releases on top, retrains below.

    Args:
        phi, U, cluster: the releases, as for `ulira`.
        retrain_phi: [R, E] models trained without any audited example.
        retrain_cluster: [R] the cluster of the shadow that each retrain belongs to, in the same numbering.

    Raises:
        AttackError: the two matrices are not about the same number of examples.
    """
    releases, retrains = clip_phi(phi), clip_phi(retrain_phi)
    if releases.ndim != 2 or retrains.ndim != 2 or releases.shape[1] != retrains.shape[1]:
        raise AttackError(
            f"releases {list(releases.shape)}, retrains {list(retrains.shape)}; they are [N, E] and [R, E]"
        )
    u = np.concatenate((np.asarray(U, dtype=np.bool_), np.zeros(retrains.shape, dtype=np.bool_)))
    o = np.concatenate((np.zeros(releases.shape, dtype=np.bool_), np.ones(retrains.shape, dtype=np.bool_)))
    ids = np.concatenate((np.asarray(cluster), np.asarray(retrain_cluster)))
    return np.concatenate((releases, retrains)), u, o, ids


@dataclass(frozen=True)
class _Sample:
    shape: tuple[int, ...]
    blocks: Blocks  # the terms of their sums are y and y^2, y being what is fitted on
    code: Integers  # [N] cluster 0..C-1
    clusters: int
    variance: Variance
    variant: LiraVariant


def _prepare(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    variance: Variance,
    fit_phi: npt.ArrayLike | None,
    variant: LiraVariant,
) -> _Sample:
    check_variant(variant, variance)
    scored = check_numbers("phi", phi)
    fitted = None if fit_phi is None else check_numbers("fit_phi", fit_phi)
    if fitted is not None and fitted.shape != scored.shape:
        raise AttackError(f"fit_phi is {list(fitted.shape)}, phi {list(scored.shape)}; they are of one shape")
    u, o, code = check_worlds(scored.shape, U, O, cluster)

    def block(columns: slice) -> Block:
        own = None if fitted is None else fitted[:, columns]
        return _block(scored[:, columns], own, u[:, columns], o[:, columns], code)

    blocks = Blocks(scored.shape, block)
    return _Sample(scored.shape, blocks, code, int(code.max(initial=-1)) + 1, variance, variant)


def _block(scored: Array, fitted: Array | None, u: Bools, o: Bools, code: Integers) -> Block:
    """Return columns of a sample; `fitted` is None where it is what is scored."""
    x = clip_phi(scored)
    y = x if fitted is None else clip_phi(fitted)
    undefined, known = np.isnan(x), ~np.isnan(y)
    members = u | o
    # any value near the data would do: it only saves digits in the sums of squares
    centre = np.median(np.where(members & known, y, 0.0), axis=0)
    x = np.where(undefined, 0.0, x - centre)
    y = x if fitted is None else np.where(known, y - centre, 0.0)
    return Block(x[None], undefined, members, cluster_sums((y, y**2), (u & known, o & known), code))


def _score(sample: _Sample, deleted: int | None) -> Floats:
    """Score every row with the fit without its cluster, and without the deleted one."""
    scores = np.full(sample.shape, np.nan)
    floor = _floor(sample, deleted)
    if floor is None:
        return scores
    prior = _prior(sample, deleted, floor)
    for columns, block in sample.blocks:
        _, rest, chosen = block.scorable(MIN_OBSERVATIONS, deleted)
        fit = _fit(rest, sample.variance, floor)
        density = predictive(fit.mean, fit.count, posterior_variance(fit.variance, fit.df, prior), fit.df, prior)
        worlds = (density, sample.code), (density, sample.code + sample.clusters)
        scored = compare(sample.variant, block.x[0][:, chosen], *worlds)
        scores[:, columns][:, chosen] = block.blank(scored, chosen, NEUTRAL[sample.variant])
    return scores


@dataclass(frozen=True)
class _Fit:
    """Of each world and left-out cluster, [2 C, B]; the first C rows are those of U."""

    count: Floats
    mean: Floats
    variance: Floats
    df: Integers


def _fit(sums: Floats, variance: Variance, floor: Floats) -> _Fit:
    count, mean = sums[:, 0], sums[:, 1] / sums[:, 0]  # [2, C, B]
    squares = np.maximum(sums[:, 2] - sums[:, 1] * mean, 0.0)
    df = np.rint(count).astype(np.int64) - 1
    if variance == "moderated_common":
        squares = np.broadcast_to(squares.sum(axis=0), df.shape)
        df = np.broadcast_to(df.sum(axis=0), df.shape)
    variances = np.maximum(squares / df, floor[:, :, None])
    flat = (2 * sums.shape[2], sums.shape[3])
    return _Fit(count.reshape(flat), mean.reshape(flat), variances.reshape(flat), df.reshape(flat))


def _floor(sample: _Sample, deleted: int | None) -> Floats | None:
    """Return the floor of the variances [2, 1] of each world, None where no example can be scored.

    It is taken from the variances over all rows. That a row has a part in a floor of all examples biases
    its score by O(1/E) where the floor binds at all; a median without each cluster would need the variances
    of all examples at once.
    """
    none = np.zeros((2, 1))
    variances, squares = [none[:, :0]], [none[:, :0]]
    for _, block in sample.blocks:
        everything, _, chosen = block.scorable(MIN_OBSERVATIONS, deleted)
        variances.append(_fit(everything, sample.variance, none).variance)
        scored = np.sum(block.x[0][:, chosen] ** 2, axis=0, where=block.members[:, chosen])
        squares.append(np.array([scored, everything[:, 2].sum(axis=(0, 1))]))
    pooled = np.concatenate(variances, axis=1)
    if not pooled.size:
        return None
    scale = float(np.concatenate(squares, axis=1).mean(axis=1).max()) / sample.shape[0]
    return variance_floor(pooled, max(_ROUNDING * scale, float(np.finfo(np.float64).tiny)))


def _prior(sample: _Sample, deleted: int | None, floor: Floats) -> Prior:
    """Return the priors of the 2 C fits, each from all examples without the cluster."""
    moments = VarianceMoments(2 * sample.clusters)
    if sample.variance != "per_example":
        for _, block in sample.blocks:
            fit = _fit(block.scorable(MIN_OBSERVATIONS, deleted)[1], sample.variance, floor)
            moments.add(fit.variance, fit.df)
    return choose_prior(moments, sample.variance)
