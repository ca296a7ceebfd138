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

from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats, clip_phi
from harness.attacks.student import Integers, Variance, check_variance, predictive, shrink

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
) -> Floats:
    """Return log p(phi | U) - log p(phi | O) of every cell, fitted without the cluster of its release.

    Both densities are Student-t predictive distributions around the mean of the world, with the variance of
    the chosen mode; the prior of the moderated modes is fitted without the cluster as well. Higher = more
    likely unlearned; 0 = equal odds.

    A phi of NaN (a diverged release) is left out of the fit and scored 0: a release without a signal tells
    nothing, and dropping its row instead would be a selection that may depend on membership. Infinite phi
    are clipped to 1e4.

    Args:
        phi, U, O, cluster: see the module.
        variance: one of `student.VARIANCES`.
        fit_phi: [N, E] fit on this matrix instead, for example on the original models of the same shadows
            (the non-adaptive attacker, level L1).

    Returns:
        float64 [N, E], in nats. NaN where the row is in neither world, and in the whole column of an
        example with fewer than MIN_OBSERVATIONS observations in a world once some cluster is left out.

    Raises:
        AttackError: shapes do not fit, the worlds overlap, or the variance mode is unknown.
    """
    sample = _prepare(phi, U, O, cluster, variance, fit_phi)
    return _score(sample, sample.without_own_cluster())


def jackknife(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    variance: Variance = "moderated",
    *,
    fit_phi: npt.ArrayLike | None = None,
) -> Iterator[Floats]:
    """Yield `ulira` on the releases that remain without one cluster, for each cluster in sorted order.

    Every array is [N, E] like the full one, NaN in the deleted rows. The cost is one pass over phi for each
    cluster: the sums of the deleted cluster are subtracted, nothing is summed again.
    """
    sample = _prepare(phi, U, O, cluster, variance, fit_phi)
    rest = sample.without_own_cluster()
    for deleted in range(sample.sums.shape[2]):
        reduced = rest - sample.sums[:, :, deleted, None]
        reduced[:, :, deleted] = rest[:, :, deleted]  # not subtracted twice; these rows are blanked below
        scores = _score(sample, reduced)
        scores[sample.code == deleted] = np.nan
        yield scores


def check_worlds(
    shape: tuple[int, ...], U: npt.ArrayLike, O: npt.ArrayLike, cluster: npt.ArrayLike
) -> tuple[Bools, Bools, Integers]:
    """Return the two masks and the clusters as codes 0..C-1 in sorted order.

    Raises:
        AttackError: the shapes differ from [N, E] and [N], or a cell is in both worlds.
    """
    u, o, ids = np.asarray(U, dtype=np.bool_), np.asarray(O, dtype=np.bool_), np.asarray(cluster)
    if len(shape) != 2 or u.shape != shape or o.shape != shape or ids.shape != shape[:1]:
        raise AttackError(
            f"phi {list(shape)}, U {list(u.shape)}, O {list(o.shape)}, cluster {list(ids.shape)}; "
            "they are [N, E], [N, E], [N, E] and [N]"
        )
    both = int(np.count_nonzero(u & o))
    if both:
        raise AttackError(f"{both} cells are in both worlds; a release unlearned an example or never saw it")
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
    x: Floats  # [N, E] what is scored, centred, 0 where phi is NaN
    undefined: Bools  # [N, E] phi is NaN
    members: Bools  # [N, E] in either world
    code: Integers  # [N] cluster 0..C-1
    sums: Floats  # [2 worlds, 3 powers of x, C clusters, E]
    smallest: float  # variances below this are rounding errors
    variance: Variance

    def without_own_cluster(self) -> Floats:
        """Sums [2, 3, C, E] over all rows but those of cluster c."""
        rest: Floats = self.sums.sum(axis=2, keepdims=True) - self.sums
        return rest


def _prepare(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    variance: Variance,
    fit_phi: npt.ArrayLike | None,
) -> _Sample:
    check_variance(variance)
    scored = clip_phi(phi)
    fitted = scored if fit_phi is None else clip_phi(fit_phi)
    if fitted.shape != scored.shape:
        raise AttackError(f"fit_phi is {list(fitted.shape)}, phi {list(scored.shape)}; they are of one shape")
    u, o, code = check_worlds(scored.shape, U, O, cluster)
    members = u | o
    known = np.isfinite(fitted) & members
    # any value near the data would do: it only saves digits in the sums of squares
    centre = np.median(np.where(known, fitted, 0.0), axis=0) if len(fitted) else np.zeros(fitted.shape[1])
    x = np.where(np.isfinite(scored), scored - centre, 0.0)
    y = np.where(known, fitted - centre, 0.0)
    scale = max(float(np.mean(x[members] ** 2)), float(np.mean(y[members] ** 2))) if members.any() else 0.0
    smallest = max(_ROUNDING * scale, float(np.finfo(np.float64).tiny))
    sums = _cluster_sums(y, u & known, o & known, code)
    return _Sample(x, np.isnan(scored), members, code, sums, smallest, variance)


def _cluster_sums(y: Floats, u: Bools, o: Bools, code: Integers) -> Floats:
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(code.max(initial=-1) + 1))
    sums = [[np.add.reduceat((world * y**power)[order], starts, axis=0) for power in range(3)] for world in (u, o)]
    return np.array(sums, dtype=np.float64)


def _score(sample: _Sample, sums: Floats) -> Floats:
    """Score every row with the fit of its cluster; `sums` [2, 3, C, E] are over the rows to fit on."""
    scores = np.full(sample.x.shape, np.nan)
    enough = (sums[:, 0] >= MIN_OBSERVATIONS).all(axis=(0, 1))
    if not (len(scores) and enough.any()):
        return scores
    columns = slice(None) if enough.all() else np.flatnonzero(enough)
    ratio = _log_ratio(sample, sums[..., columns], sample.x[:, columns])
    scores[:, columns] = np.where(sample.undefined[:, columns], 0.0, ratio)
    scores[~sample.members] = np.nan
    return scores


def _log_ratio(sample: _Sample, sums: Floats, x: Floats) -> Floats:
    count, mean = sums[:, 0], sums[:, 1] / sums[:, 0]  # [2, C, E]
    squares = np.maximum(sums[:, 2] - sums[:, 1] * mean, 0.0)
    df = np.rint(count).astype(np.int64) - 1
    if sample.variance == "moderated_common":
        squares = np.broadcast_to(squares.sum(axis=0), df.shape)
        df = np.broadcast_to(df.sum(axis=0), df.shape)
    densities = []
    for world in range(2):
        posterior, prior = shrink(squares[world] / df[world], df[world], sample.variance, sample.smallest)
        fit = predictive(mean[world], count[world], posterior, df[world], prior)
        densities.append(fit.log_density(x, sample.code))
    return densities[0] - densities[1]
