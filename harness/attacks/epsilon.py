# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""Epsilons of differential privacy that attack scores support: three kinds, never to be mixed.

eps_cp      a lower bound with confidence from many releases: the error rates of one threshold
eps_gdp     a restatement of an AUC, as if both score distributions were normal with one variance; no bound
eps_onerun  a lower bound with confidence from the guesses in a single model
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats
from harness.attacks.student import Integers
from harness.attacks.ulira import check_worlds

_TAIL_THRESHOLDS = 2000
"""Per tail; more candidates would not move a bound that is estimated on the same half."""


@dataclass(frozen=True)
class CpEpsilon:
    """The bound, the threshold ("member" is a score above it), and its rates on the evaluated half."""

    epsilon: float
    threshold: float
    tpr: float
    fpr: float
    tpr_low: float
    fpr_high: float


DesignEffect = float | Literal["estimated", "clusters"]


@dataclass(frozen=True)
class _World:
    scores: Floats  # sorted
    by_cluster: tuple[Floats, ...]  # the same ones, sorted within each cluster

    def counts_above(self, thresholds: Floats) -> Floats:
        """Return [G, T]: how many scores of each cluster exceed each threshold."""
        below = [np.searchsorted(scores, thresholds, side="right") for scores in self.by_cluster]
        return self.sizes[:, None] - np.array(below, dtype=np.float64)

    @property
    def sizes(self) -> Floats:
        return np.array([scores.size for scores in self.by_cluster], dtype=np.float64)


@dataclass(frozen=True)
class _Half:
    members: _World
    others: _World


def eps_cp(
    scores: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    delta: float = 0.0,
    alpha: float = 0.05,
    design_effect: DesignEffect = "estimated",
) -> CpEpsilon:
    """Return a lower bound of epsilon from the error rates of a threshold, by Clopper-Pearson limits.

    The threshold with the largest bound on every second cluster is evaluated on the others, where

        epsilon = max( log((TPR_L - delta) / FPR_U), log((1 - FPR_U - delta) / (1 - TPR_L)), 0 )

    with the lower limit of TPR and the upper one of FPR at the level alpha / 2 each. Both ratios need only
    these two limits, hence no further correction. With K perfect observations a world the limits cap
    epsilon: 2.1 at K = 32, 3.5 at K = 128 (95 %).

    Args:
        scores: [N, E] of `ulira`; NaN (an example with too few releases) is left out.
        U, O, cluster: as for `ulira`.
        delta: of (epsilon, delta)-indistinguishability, in [0, 1).
        alpha: one minus the confidence.
        design_effect: the scores that carry as much as one independent observation; all counts are divided
            by it. "estimated": `rate_design_effect` at each threshold, with the penalty of Korn and Graubard
            1998 (Survey Methodology 24:193) for knowing it from few clusters, and never coarser than
            "clusters"; a guarantee only up to that estimate, which cannot see clusters that are rare and
            extreme (a shared shift in 5 % of them: an error of 15 % in place of 5 % in simulations).
            "clusters": each cluster is a single observation, which is right whatever the dependence inside of
            it (the variance of a mean of G shares is at most p (1 - p) / G), and coarse where the scores of
            one release hardly depend on each other. A number of at least 1 is taken as it is.

    Raises:
        AttackError: shapes do not fit, a score is infinite, a half lacks a world, or an option is out of
            range.
    """
    _check_delta(delta, 0.0)
    _check_alpha(alpha)
    _check_design_effect(design_effect)
    values = np.asarray(scores, dtype=np.float64)
    u, o, code = check_worlds(values.shape, U, O, cluster)
    infinite = np.argwhere(np.isinf(values) & (u | o))
    if len(infinite):
        raise AttackError(f"scores row {infinite[0][0]} is infinite at example {infinite[0][1]}; they are finite")
    # clusters are exchangeable: every second one is as good as a draw, and needs no seed
    selected, evaluated = (_half(values, u, o, code, code % 2 == parity) for parity in (1, 0))
    candidates = _thresholds(selected)
    best = candidates[int(np.argmax(_epsilons(*_limits(selected, candidates, alpha, design_effect), delta)))]
    tpr_low, fpr_high = _limits(evaluated, np.array([best]), alpha, design_effect)
    return CpEpsilon(
        epsilon=float(_epsilons(tpr_low, fpr_high, delta)[0]),
        threshold=float(best),
        tpr=float(np.mean(evaluated.members.scores > best)),
        fpr=float(np.mean(evaluated.others.scores > best)),
        tpr_low=float(tpr_low[0]),
        fpr_high=float(fpr_high[0]),
    )


def eps_gdp(auc: float, *, delta: float) -> float:
    """Return the epsilon at delta of the Gaussian mechanism whose optimal attack has this AUC.

    mu = sqrt(2) * Phi^-1(AUC), and epsilon solves Phi(-epsilon / mu + mu / 2) - e^epsilon
    Phi(-epsilon / mu - mu / 2) = delta (Dong et al. 2022, arXiv 1905.02383, corollary 2.13). A description
    without a guarantee. 0 for an AUC of at most 0.5, inf for 1.

    Raises:
        AttackError: the AUC is outside of [0, 1], or delta of (0, 1): at 0 a Gaussian has no finite epsilon.
    """
    from scipy.optimize import brentq
    from scipy.special import log_ndtr, ndtr, ndtri

    if not 0.0 <= auc <= 1.0:
        raise AttackError(f"the AUC is {auc}; it lies between 0 and 1")
    _check_delta(delta, math.ulp(0.0))
    mu = math.sqrt(2) * float(ndtri(auc))
    if mu <= 0 or 2 * ndtr(mu / 2) - 1 <= delta:
        return 0.0
    if math.isinf(mu):
        return math.inf

    def excess(epsilon: float) -> float:
        return float(ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)) - delta)

    upper = mu * (mu / 2 - float(ndtri(delta)))  # the first term alone is delta there
    return float(brentq(excess, 0.0, upper, xtol=1e-12))


def eps_onerun(correct: int, guesses: int, *, alpha: float = 0.05) -> float:
    """Return the epsilon that `correct` of `guesses` memberships in a single model refute, at delta = 0.

    Under epsilon-DP with fair inclusion coins the number of right guesses is at most a Binomial(guesses,
    e^epsilon / (1 + e^epsilon)) (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846); returned is the
    largest epsilon >= 0 at which its chance to reach `correct` stays below alpha. The examples to guess
    on must not be chosen by the outcome, and several models need a Bonferroni correction of alpha.

    Raises:
        AttackError: not 0 <= correct <= guesses, no guess, or alpha is out of range.
    """
    _check_alpha(alpha)
    if not 0 <= correct <= guesses or guesses < 1:
        raise AttackError(f"{correct} correct of {guesses} guesses; at least 1 guess, and no more are correct")
    lowest = float(_lower_limit(np.array([correct], dtype=np.float64), float(guesses), alpha)[0])
    return max(0.0, math.log(lowest / (1.0 - lowest))) if lowest > 0 else 0.0


def _check_delta(delta: float, smallest: float) -> None:
    if not smallest <= delta < 1.0:
        raise AttackError(f"delta is {delta}; it is below 1 and {'at least' if smallest == 0 else 'above'} 0")


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise AttackError(f"alpha is {alpha}; it lies between 0 and 1")


def _check_design_effect(design_effect: DesignEffect) -> None:
    known = design_effect in get_args(get_args(DesignEffect)[1])
    if not known and (isinstance(design_effect, str) or not 1.0 <= design_effect < math.inf):
        raise AttackError(f"design_effect is {design_effect}; it is 'estimated', 'clusters' or at least 1")


def _half(values: Floats, u: Bools, o: Bools, code: Integers, rows: Bools) -> _Half:
    worlds = []
    for name, world in (("U", u), ("O", o)):
        cells = world & rows[:, None] & ~np.isnan(values)
        if not cells.any():
            raise AttackError(f"a half of the clusters has no score in {name}; each half needs both worlds")
        scores, clusters = values[cells], np.broadcast_to(code[:, None], cells.shape)[cells]
        order = np.lexsort((scores, clusters))
        starts = np.unique(clusters[order], return_index=True)[1]
        worlds.append(_World(np.sort(scores), tuple(np.split(scores[order], starts[1:]))))
    return _Half(worlds[0], worlds[1])


def _thresholds(half: _Half) -> Floats:
    """Return thresholds midway between neighbouring scores: all of them, or a selection dense in both tails."""
    distinct = np.unique(np.concatenate((half.members.scores, half.others.scores)))
    if distinct.size == 1:
        return distinct
    middle: Floats = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    if middle.size <= 2 * _TAIL_THRESHOLDS:
        return middle
    rank = np.geomspace(1, middle.size, _TAIL_THRESHOLDS).astype(np.int64) - 1
    return middle[np.unique(np.concatenate((rank, middle.size - 1 - rank)))]


def _limits(half: _Half, thresholds: Floats, alpha: float, design_effect: DesignEffect) -> tuple[Floats, Floats]:
    """Return the lower limit of TPR and the upper one of FPR at each threshold, level alpha / 2 each."""
    level = alpha / 2
    (tpr, members), (fpr, others) = (
        _rates(world, thresholds, level, design_effect) for world in (half.members, half.others)
    )
    return _lower_limit(tpr * members, members, level), 1.0 - _lower_limit((1.0 - fpr) * others, others, level)


def _rates(world: _World, thresholds: Floats, level: float, design_effect: DesignEffect) -> tuple[Floats, Floats]:
    """Return [T] the share of scores above each threshold, and how many observations it counts for."""
    n, clusters = world.scores.size, len(world.by_cluster)
    hits, sizes = world.counts_above(thresholds), world.sizes
    rate = hits.sum(axis=0) / n
    if design_effect == "clusters":
        return rate, np.full(rate.shape, float(clusters))
    if not isinstance(design_effect, str):
        return rate, np.full(rate.shape, n / design_effect)
    worth = n / _design_effects(hits, sizes) * _penalty(n, clusters, level)
    return rate, np.clip(worth, clusters, n)


def _penalty(n: int, clusters: int, level: float) -> float:
    from scipy.special import stdtrit

    return float((stdtrit(n - 1, level) / stdtrit(clusters - 1, level)) ** 2) if clusters > 1 else 1.0


def rate_design_effect(hits: npt.ArrayLike, cluster: npt.ArrayLike) -> float:
    """Return the variance of a rate over clusters divided by its binomial variance, at least 1.

    With h_g hits among the m_g of cluster g, n observations in G clusters and the rate p:
    G / (G - 1) * sum_g (h_g - p m_g)^2 / n^2, divided by p (1 - p) / (n - 1) (Kish 1965, Survey Sampling; the
    linearised variance of a ratio). 1 where all observations are their own cluster, about m where those of a
    cluster always agree.

    A rate of 0 or 1, or a single cluster, shows no variance between clusters, which is not independence: the
    value is then n / G, each cluster one observation.

    Args:
        hits: [n] booleans.
        cluster: [n] observations that are not independent share a value.

    Raises:
        AttackError: the shapes do not fit or there is no observation.
    """
    hit, ids = np.asarray(hits, dtype=np.bool_), np.asarray(cluster)
    if hit.ndim != 1 or hit.shape != ids.shape or not hit.size:
        raise AttackError(f"hits {list(hit.shape)}, cluster {list(ids.shape)}; both are [n], n >= 1")
    code = np.unique(ids, return_inverse=True)[1]
    sizes = np.bincount(code).astype(np.float64)
    per_cluster = np.bincount(code, weights=hit).astype(np.float64)
    return float(_design_effects(per_cluster[:, None], sizes)[0])


def _design_effects(hits: Floats, sizes: Floats) -> Floats:
    """Return the design effect of each column of hits [G, T] among sizes [G]."""
    n, clusters = sizes.sum(), len(sizes)
    rate = hits.sum(axis=0) / n
    binomial = n * rate * (1.0 - rate)
    between = ((hits - rate * sizes[:, None]) ** 2).sum(axis=0)
    varies = (binomial > 0) & (clusters > 1)
    scale = (n - 1) / n * clusters / max(clusters - 1, 1)
    ratio = scale * between / np.where(varies, binomial, 1.0)
    return np.asarray(np.where(varies, np.maximum(ratio, 1.0), n / clusters), dtype=np.float64)


def _lower_limit(successes: Floats, trials: npt.ArrayLike, level: float) -> Floats:
    """Return the Clopper-Pearson lower limit, also for the fractional counts of a design effect."""
    from scipy.special import betaincinv

    some = successes > 0
    failures = np.maximum(np.asarray(trials) - successes, 0.0)  # rounding may leave -1e-16
    limit = betaincinv(np.where(some, successes, 1.0), np.where(some, failures, 0.0) + 1.0, level)
    return np.asarray(np.where(some, limit, 0.0), dtype=np.float64)


def _epsilons(tpr_low: Floats, fpr_high: Floats, delta: float) -> Floats:
    with np.errstate(divide="ignore"):  # log 0 = -inf, below the floor of 0
        forward = np.log(np.maximum(tpr_low - delta, 0.0)) - np.log(fpr_high)
        mirrored = np.log(np.maximum(1.0 - fpr_high - delta, 0.0)) - np.log(1.0 - tpr_low)
    return np.asarray(np.maximum(np.maximum(forward, mirrored), 0.0), dtype=np.float64)
