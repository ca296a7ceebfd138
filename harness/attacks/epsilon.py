# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""Epsilons of differential privacy that attack scores support: three kinds, never to be mixed.

eps_cp      a lower bound with confidence from many releases: the error rates of one threshold
eps_gdp     a restatement of an AUC, as if both score distributions were normal with one variance; no bound
eps_onerun  a lower bound with confidence from the guesses in a single model
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Half:
    members: Floats  # sorted scores of U
    others: Floats  # sorted scores of O
    effects: tuple[float, float]  # scores that count as one observation, per world


def eps_cp(
    scores: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    *,
    delta: float = 0.0,
    alpha: float = 0.05,
    design_effect: float | None = None,
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
        design_effect: >= 1, the scores that carry as much as one independent observation; all counts are
            divided by it. None counts each cluster as a single observation, which is right whatever the
            dependence inside of it (the variance of a mean of G shares is at most p (1 - p) / G), and coarse
            where the scores of one release hardly depend on each other.

    Raises:
        AttackError: shapes do not fit, a score is infinite, a half lacks a world, or an option is out of
            range.
    """
    _check_delta(delta, 0.0)
    _check_alpha(alpha)
    if design_effect is not None and not 1.0 <= design_effect < math.inf:
        raise AttackError(f"design_effect is {design_effect}; it is at least 1, None counts clusters")
    values = np.asarray(scores, dtype=np.float64)
    u, o, code = check_worlds(values.shape, U, O, cluster)
    infinite = np.argwhere(np.isinf(values) & (u | o))
    if len(infinite):
        raise AttackError(f"scores row {infinite[0][0]} is infinite at example {infinite[0][1]}; they are finite")
    # clusters are exchangeable: every second one is as good as a draw, and needs no seed
    selected, evaluated = (_half(values, u, o, code, code % 2 == parity, design_effect) for parity in (1, 0))
    candidates = _thresholds(selected)
    best = candidates[int(np.argmax(_epsilons(*_limits(selected, candidates, alpha), delta)))]
    tpr_low, fpr_high = _limits(evaluated, np.array([best]), alpha)
    return CpEpsilon(
        epsilon=float(_epsilons(tpr_low, fpr_high, delta)[0]),
        threshold=float(best),
        tpr=float(np.mean(evaluated.members > best)),
        fpr=float(np.mean(evaluated.others > best)),
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


def _half(values: Floats, u: Bools, o: Bools, code: Integers, rows: Bools, design_effect: float | None) -> _Half:
    samples, effects = [], []
    for name, world in (("U", u), ("O", o)):
        cells = world & rows[:, None] & ~np.isnan(values)
        if not cells.any():
            raise AttackError(f"a half of the clusters has no score in {name}; each half needs both worlds")
        samples.append(np.sort(values[cells]))
        clusters = np.unique(code[cells.any(axis=1)]).size
        effects.append(samples[-1].size / clusters if design_effect is None else design_effect)
    return _Half(samples[0], samples[1], (effects[0], effects[1]))


def _thresholds(half: _Half) -> Floats:
    """Return thresholds midway between neighbouring scores: all of them, or a selection dense in both tails."""
    distinct = np.unique(np.concatenate((half.members, half.others)))
    if distinct.size == 1:
        return distinct
    middle: Floats = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    if middle.size <= 2 * _TAIL_THRESHOLDS:
        return middle
    rank = np.geomspace(1, middle.size, _TAIL_THRESHOLDS).astype(np.int64) - 1
    return middle[np.unique(np.concatenate((rank, middle.size - 1 - rank)))]


def _limits(half: _Half, thresholds: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return the lower limit of TPR and the upper one of FPR at each threshold, level alpha / 2 each."""
    counts = []
    for sample, effect in zip((half.members, half.others), half.effects, strict=True):
        above = sample.size - np.searchsorted(sample, thresholds, side="right")
        counts.append((above / effect, sample.size / effect))
    (hits, members), (alarms, others) = counts
    return _lower_limit(hits, members, alpha / 2), 1.0 - _lower_limit(others - alarms, others, alpha / 2)


def _lower_limit(successes: Floats, trials: float, level: float) -> Floats:
    """Return the Clopper-Pearson lower limit, also for the fractional counts of a design effect."""
    from scipy.special import betaincinv

    some = successes > 0
    limit = betaincinv(np.where(some, successes, 1.0), np.where(some, trials - successes, 0.0) + 1.0, level)
    return np.asarray(np.where(some, limit, 0.0), dtype=np.float64)


def _epsilons(tpr_low: Floats, fpr_high: Floats, delta: float) -> Floats:
    with np.errstate(divide="ignore"):  # log 0 = -inf, below the floor of 0
        forward = np.log(np.maximum(tpr_low - delta, 0.0)) - np.log(fpr_high)
        mirrored = np.log(np.maximum(1.0 - fpr_high - delta, 0.0)) - np.log(1.0 - tpr_low)
    return np.asarray(np.maximum(np.maximum(forward, mirrored), 0.0), dtype=np.float64)
