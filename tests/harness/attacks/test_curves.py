from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attacks.curves import auc, roc_points, tpr_at_fpr
from harness.attacks.errors import AttackError

tied_scores = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


@given(tied_scores, tied_scores)
def test_auc_counts_pairs_and_half_of_the_ties(positives: list[int], negatives: list[int]) -> None:
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    assert auc(positives, negatives) == pytest.approx(wins / (len(positives) * len(negatives)), abs=1e-15)


@given(tied_scores, tied_scores, st.floats(0, 1))
def test_tpr_is_the_best_that_any_threshold_reaches_within_the_rate(
    positives: list[int], negatives: list[int], fpr: float
) -> None:
    def rate(scores: list[int], threshold: float) -> float:
        return sum(s > threshold for s in scores) / len(scores)

    candidates = [-np.inf, *positives, *negatives]
    allowed = [t for t in candidates if rate(negatives, t) <= fpr + 1e-9]
    point = tpr_at_fpr(positives, negatives, fpr)
    assert point.tpr == max(rate(positives, t) for t in allowed)
    assert point.realised_fpr == rate(negatives, point.threshold) <= fpr + 1e-9
    assert point.false_positives == round(point.realised_fpr * len(negatives))


def test_operating_point_by_hand() -> None:
    negatives = np.arange(100.0)
    point = tpr_at_fpr([50.0, 70.0, 70.5, 99.5], negatives, 0.29)  # 0.29 * 100 = 28.999999999999996 in binary
    assert (point.threshold, point.false_positives, point.realised_fpr, point.tpr) == (70.0, 29, 0.29, 0.5)
    assert not point.insufficient
    assert tpr_at_fpr([1.0], negatives, 0.19).insufficient
    assert not tpr_at_fpr([1.0], negatives, 0.2).insufficient


def test_a_rate_of_zero_admits_no_false_positive_and_a_rate_of_one_admits_all() -> None:
    assert tpr_at_fpr([3.0, 1.0], [2.0, 0.0], 0.0).tpr == 0.5
    assert tpr_at_fpr([-9.0], [2.0, 0.0], 1.0).tpr == 1.0


def test_roc_points_are_operating_points_on_a_logarithmic_grid() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 3000), rng.normal(0, 1, 2000)
    fpr, tpr = roc_points(positives, negatives, points=50)
    assert fpr[0] == pytest.approx(1 / 2000)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)
    assert np.all(np.diff(fpr) > 0)
    assert np.all(np.diff(tpr) >= 0)
    assert len(fpr) <= 50
    for x, y in zip(fpr, tpr, strict=True):
        assert tpr_at_fpr(positives, negatives, x).tpr == pytest.approx(y)


@pytest.mark.parametrize("bad", [[], [np.nan, 1.0]])
def test_a_sample_that_has_no_roc_is_refused(bad: list[float]) -> None:
    for function in (auc, roc_points, lambda p, n: tpr_at_fpr(p, n, 0.1)):
        with pytest.raises(AttackError):
            function(bad, [0.0])
        with pytest.raises(AttackError):
            function([0.0], bad)


def test_a_rate_outside_of_the_unit_interval_is_refused() -> None:
    with pytest.raises(AttackError, match="between 0 and 1"):
        tpr_at_fpr([1.0], [0.0], 1.5)
