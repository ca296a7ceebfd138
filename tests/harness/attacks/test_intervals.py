from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attacks.intervals import holm, jackknife_interval


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
