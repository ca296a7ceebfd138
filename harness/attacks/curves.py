"""ROC statistics of two samples of scores: higher score = "member"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Floats

MIN_FALSE_POSITIVES = 20
"""Below this many expected false positives the threshold itself is mostly noise."""


@dataclass(frozen=True)
class OperatingPoint:
    """The true-positive rate at a wanted false-positive rate, and what was really reached.

    `insufficient` is set where fpr * negatives < MIN_FALSE_POSITIVES.
    """

    fpr: float
    tpr: float
    threshold: float
    realised_fpr: float
    false_positives: int
    insufficient: bool


def auc(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> float:
    """Return P(positive > negative) + P(equal) / 2, the Mann-Whitney statistic with tie correction.

    Args:
        positives: [n1] scores of members (world U).
        negatives: [n0] scores of non-members (world O or R).

    Raises:
        AttackError: one of the samples is empty or holds NaN.
    """
    return sorted_auc(sorted_scores(positives), sorted_scores(negatives))


def sorted_scores(scores: npt.ArrayLike) -> Floats:
    """Return the scores as a sorted float64 array; raise AttackError for an empty sample or NaN."""
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if values.size == 0:
        raise AttackError("no scores on one side; a ROC statistic needs members and non-members")
    if np.isnan(values[-1]):  # NaN sorts last
        raise AttackError("scores hold NaN; drop or impute them first")
    return values


def sorted_auc(positives: Floats, negatives: Floats) -> float:
    """Return the AUC of two samples that are already sorted (see `auc`)."""
    below = np.searchsorted(negatives, positives, side="left")
    wins = int(below.sum())
    next_negative = negatives[np.minimum(below, negatives.size - 1)]
    tied = positives[(below < negatives.size) & (next_negative == positives)]
    ties = int((np.searchsorted(negatives, tied, side="right") - np.searchsorted(negatives, tied)).sum())
    return (wins + 0.5 * ties) / (positives.size * negatives.size)


def tpr_at_fpr(positives: npt.ArrayLike, negatives: npt.ArrayLike, fpr: float) -> OperatingPoint:
    """Return the true-positive rate at a false-positive rate, without interpolation.

    The threshold is the (floor(fpr * n0) + 1)-th largest negative score and "member" means a score above
    it, so that the realised rate never exceeds the wanted one; ties make it smaller.

    Raises:
        AttackError: a sample is empty or holds NaN, or fpr is outside of [0, 1].
    """
    return sorted_tpr_at_fpr(sorted_scores(positives), sorted_scores(negatives), fpr)


def sorted_tpr_at_fpr(positives: Floats, negatives: Floats, fpr: float) -> OperatingPoint:
    """Return the operating point of two samples that are already sorted (see `tpr_at_fpr`)."""
    allowed = allowed_false_positives(negatives.size, fpr)
    threshold = float(negatives[-1 - allowed]) if allowed < negatives.size else -math.inf
    false_positives = _count_above(negatives, threshold)
    return OperatingPoint(
        fpr=fpr,
        tpr=_count_above(positives, threshold) / positives.size,
        threshold=threshold,
        realised_fpr=false_positives / negatives.size,
        false_positives=false_positives,
        insufficient=fpr * negatives.size < MIN_FALSE_POSITIVES - 1e-9,
    )


def allowed_false_positives(negatives: int, fpr: float) -> int:
    """Return floor(fpr * negatives), also for rates such as 0.29 that binary fractions miss from below."""
    if not 0.0 <= fpr <= 1.0:
        raise AttackError(f"the false-positive rate is {fpr}; it lies between 0 and 1")
    return math.floor(fpr * negatives + 1e-9)


def _count_above(ordered: Floats, threshold: float) -> int:
    return ordered.size - int(np.searchsorted(ordered, threshold, side="right"))


def roc_points(positives: npt.ArrayLike, negatives: npt.ArrayLike, points: int = 200) -> tuple[Floats, Floats]:
    """Return (fpr, tpr) for plotting on logarithmic axes: realised operating points from 1/n0 up to 1.

    Args:
        positives: [n1] scores of members.
        negatives: [n0] scores of non-members.
        points: at most this many, spaced evenly in log(fpr).

    Returns:
        Two arrays of one length, both increasing; points with a realised rate of 0 (ties at the top) are
        left out.
    """
    members, others = sorted_scores(positives), sorted_scores(negatives)
    allowed = np.unique(np.round(np.geomspace(1, others.size, points)).astype(np.int64))
    thresholds = np.append(others[::-1], -np.inf)[allowed]
    fpr = 1.0 - np.searchsorted(others, thresholds, side="right") / others.size
    tpr = 1.0 - np.searchsorted(members, thresholds, side="right") / members.size
    distinct = np.unique(fpr, return_index=True)[1]
    keep = distinct[fpr[distinct] > 0]
    return fpr[keep], tpr[keep]
