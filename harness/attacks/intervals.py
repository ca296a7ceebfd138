"""Intervals from the delete-one-cluster jackknife, and the corrections for looking at many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Floats

TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a statistic in [0, 1], its standard error, and the p value of its null value."""

    se: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Difference:
    """a - b of two statistics in [0, 1], its 95 % interval within [-1, 1], and the p value of no difference."""

    value: float
    se: float
    low: float
    high: float
    p_value: float


def jackknife_interval(value: float, replicates: npt.ArrayLike, trials: int, null: float) -> Interval | None:
    """Return the jackknife interval of a probability-like statistic, built on the probit scale.

    theta = Phi^-1(value) and its replicates have the variance (G-1)/G sum (theta_g - mean)^2; the interval is
    Phi(theta +- t * sd) with Student's t of G-1 degrees of freedom (Efron and Tibshirani 1993, chapter 11),
    so it never leaves [0, 1]. Phi^-1(0) and Phi^-1(1) do not exist; therefore all values first go through
    (trials * value + 1/2) / (trials + 1), half a trial short of certainty. The interval is widened to hold
    the value. In simulated farms of 16 and 32 shadows it covered the mean of the attack in 96 to 100 % of
    the cases.

    Where the value and all replicates are exactly 0 or exactly 1 the jackknife sees no spread, which is not
    certainty. The clusters then count as G independent trials that all came out alike, and the interval
    ends at the Clopper-Pearson limit 0.025^(1/G) or one minus it.

    Args:
        value: the statistic of all clusters.
        replicates: [G] the statistic without each cluster, refitted.
        trials: the number of comparisons behind it: n1 * n0 for an AUC, n for a rate.
        null: its value under no leakage.

    Returns:
        `se` on the scale of the statistic; None for fewer than two clusters.
    """
    reps = np.asarray(replicates, dtype=np.float64)
    if reps.size < 2:
        return None
    if value in (0.0, 1.0) and bool(np.all(reps == value)):
        return _certain(value, reps.size, null)
    return _probit_interval(value, reps, trials, null)


def _certain(value: float, clusters: int, null: float) -> Interval:
    limit = TAIL ** (1 / clusters)
    low, high, chance = (limit, 1.0, null) if value == 1.0 else (0.0, 1.0 - limit, 1.0 - null)
    return Interval(0.0, low, high, min(1.0, 2 * chance**clusters))


def _probit_interval(value: float, reps: Floats, trials: int, null: float) -> Interval:
    from scipy.special import ndtr, ndtri, stdtrit

    def probit(v: npt.ArrayLike) -> Floats:
        return np.asarray(ndtri((trials * np.asarray(v) + 0.5) / (trials + 1)), dtype=np.float64)

    theta, spread = float(probit(value)), jackknife_se(probit(reps))
    half_width = float(stdtrit(reps.size - 1, 1 - TAIL)) * spread
    distance = abs(theta - float(probit(null)))
    p_value = _two_sided_p(distance, spread, reps.size - 1)
    low, high = float(ndtr(theta - half_width)), float(ndtr(theta + half_width))
    return Interval(jackknife_se(reps), min(low, value), max(high, value), p_value)


def paired_difference(
    value_a: float, replicates_a: npt.ArrayLike, value_b: float, replicates_b: npt.ArrayLike
) -> Difference | None:
    """Return the difference a - b of one statistic of two methods that were audited on the same clusters.

    What the clusters do to both methods alike cancels: the variance is that of the differences of the
    replicates, (G-1)/G sum (delta_g - mean)^2, much smaller than the sum of the two variances. The interval
    is that of Student's t with G-1 degrees of freedom, cut to [-1, 1] (Efron and Tibshirani 1993, chapter 11).
    Where the replicates of the differences show no spread, which is not certainty, the clusters count as G equal
    outcomes: the interval is as wide as the Clopper-Pearson limit 1 - 0.025^(1/G) on either side, and p that
    of the sign test, 2^(1-G).

    Args:
        value_a, value_b: the statistics of all clusters.
        replicates_a, replicates_b: [G] the statistics without each cluster, in the same order of the same
            clusters (`Result.replicates` of `audit(..., keep_replicates=True)`).

    Returns:
        None for fewer than two clusters.

    Raises:
        AttackError: the replicates are not one for one.
    """
    from scipy.special import stdtrit

    a, b = np.asarray(replicates_a, dtype=np.float64), np.asarray(replicates_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise AttackError(
            f"replicates_a {list(a.shape)}, replicates_b {list(b.shape)}; they are [G], the same clusters"
        )
    if a.size < 2:
        return None
    value, se = value_a - value_b, jackknife_se(a - b)
    half_width = float(stdtrit(a.size - 1, 1 - TAIL)) * se
    p_value = _two_sided_p(abs(value), se, a.size - 1)
    if value and np.ptp(a - b) == 0:
        half_width, p_value = 1 - TAIL ** (1 / a.size), 2 * 0.5**a.size
    return Difference(value, se, max(-1.0, value - half_width), min(1.0, value + half_width), p_value)


def _two_sided_p(distance: float, spread: float, df: int) -> float:
    from scipy.special import stdtr

    if spread == 0:
        return 1.0 if distance == 0 else 0.0
    return float(2 * stdtr(df, -distance / spread))


def jackknife_se(replicates: Floats) -> float:
    """Return sqrt((G-1)/G sum (theta_g - mean)^2) of G delete-one replicates."""
    g = replicates.size
    return float(np.sqrt((g - 1) / g * np.sum((replicates - replicates.mean()) ** 2)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values adjusted for testing them all (Holm 1979): reject where the adjusted one is small.

    None (a statistic that could not be computed) stays None and does not count as a test.
    """
    tested = [(p, i) for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(sorted(tested)):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values adjusted for the false discovery rate (Benjamini and Hochberg 1995).

    Rejecting where the adjusted one is at most q keeps the expected share of false rejections among all
    rejections at q or less, for tests that are independent or positively dependent. None stays None and does
    not count as a test.
    """
    tested = [(p, i) for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    smallest = 1.0
    for rank, (p, i) in reversed(list(enumerate(sorted(tested), start=1))):
        smallest = min(smallest, len(tested) * p / rank)
        adjusted[i] = smallest
    return adjusted
