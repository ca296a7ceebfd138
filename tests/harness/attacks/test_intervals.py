from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.attacks.errors import AttackError
from harness.attacks.intervals import benjamini_hochberg, holm, jackknife_interval, paired_difference


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_rejects_exactly_what_the_step_down_procedure_rejects(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    assert [p is None for p in p_values] == [a is None for a in adjusted]
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    for alpha in (0.01, 0.05, 0.3, 0.9):
        rejected = set()
        for rank, (p, i) in enumerate(tested):
            if p * (len(tested) - rank) > alpha:
                break
            rejected.add(i)
        assert {i for i, a in enumerate(adjusted) if a is not None and a <= alpha} == rejected


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, None, 0.005]) == pytest.approx([0.03, 0.06, 0.06, None, 0.02])


@given(st.integers(1, 10_000), st.lists(st.integers(0, 10_000), min_size=2, max_size=12), st.floats(0.001, 0.999))
def test_interval_is_ordered_and_bounded_for_any_replicates(trials: int, counts: list[int], null: float) -> None:
    rates = [min(c, trials) / trials for c in counts]
    interval = jackknife_interval(rates[0], rates, trials, null)
    assert interval is not None
    assert 0 <= interval.low <= rates[0] <= interval.high <= 1
    assert 0 <= interval.p_value <= 1
    assert interval.se >= 0


def test_the_interval_mirrors_with_the_statistic() -> None:
    low = jackknife_interval(0.1, [0.08, 0.1, 0.13], 50, 0.4)
    high = jackknife_interval(0.9, [0.92, 0.9, 0.87], 50, 0.6)
    assert low is not None
    assert high is not None
    np.testing.assert_allclose([low.low, low.high, low.p_value], [1 - high.high, 1 - high.low, high.p_value])


def test_no_spread_at_a_bound_is_read_as_so_many_equal_outcomes() -> None:
    never = jackknife_interval(0.0, [0.0] * 16, 500, 0.01)
    assert never is not None
    assert (never.low, never.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 16)))
    assert never.p_value == 1.0
    constant = jackknife_interval(0.5, [0.5] * 16, 500, 0.5)
    assert constant is not None
    assert (constant.low, constant.high, constant.p_value) == (0.5, 0.5, 1.0)


def test_one_cluster_has_no_interval() -> None:
    assert jackknife_interval(0.6, [0.6], 100, 0.5) is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_benjamini_hochberg_rejects_exactly_what_the_step_up_procedure_rejects(p_values: list[float | None]) -> None:
    adjusted = benjamini_hochberg(p_values)
    assert [p is None for p in p_values] == [a is None for a in adjusted]
    tested = sorted(p for p in p_values if p is not None)
    for q in (0.01, 0.05, 0.3, 0.9):
        passing = [p for rank, p in enumerate(tested, start=1) if len(tested) * p / rank <= q]
        rejected = {i for i, p in enumerate(p_values) if p is not None and passing and p <= max(passing)}
        assert {i for i, a in enumerate(adjusted) if a is not None and a <= q} == rejected


def test_benjamini_hochberg_is_that_of_scipy() -> None:
    p_values = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p_values.tolist()), stats.false_discovery_control(p_values))


def test_the_jackknife_of_the_difference_of_means_is_the_paired_t_test() -> None:
    # of a mean the jackknife is exact: deleting row g gives (sum - x_g) / (n - 1)
    rng = np.random.default_rng(1)
    a = rng.random(12)
    b = 0.8 * a + 0.15 * rng.random(12)
    replicates = [(x.sum() - x) / 11 for x in (a, b)]
    difference = paired_difference(a.mean(), replicates[0], b.mean(), replicates[1])
    expected = stats.ttest_rel(a, b)
    assert difference is not None
    np.testing.assert_allclose(difference.p_value, expected.pvalue)
    np.testing.assert_allclose([difference.low, difference.high], expected.confidence_interval(0.95))
    np.testing.assert_allclose([difference.value, difference.se], [(a - b).mean(), stats.sem(a - b)])


def test_a_difference_stays_within_its_bounds_and_is_never_certain() -> None:
    wide = paired_difference(0.9, [0.1, 0.9, 0.9], 0.1, [0.9, 0.1, 0.1])
    assert wide is not None
    assert (wide.low, wide.high) == (-1.0, 1.0)
    apart = paired_difference(1.0, [1.0] * 16, 0.0, [0.0] * 16)
    assert apart is not None
    assert (apart.low, apart.high, apart.p_value) == (pytest.approx(0.025 ** (1 / 16)), 1.0, 2 * 0.5**16)
    same = paired_difference(0.7, [0.6, 0.8], 0.7, [0.6, 0.8])
    assert same is not None
    assert (same.low, same.high, same.p_value) == (0.0, 0.0, 1.0)
    assert paired_difference(0.7, [0.6], 0.6, [0.5]) is None
    with pytest.raises(AttackError, match=r"replicates_a \[2\], replicates_b \[3\]"):
        paired_difference(0.7, [0.6, 0.8], 0.6, [0.5, 0.6, 0.7])
