"""Exact limits of a difference in units of a reference's spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nct

from harness.metrics.noncentral import delta_limits


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_limits_are_those_of_the_noncentral_t_distribution(count: int) -> None:
    delta = np.array([-40.0, -3.0, 0.0, 0.7, 8.0])
    low, high = delta_limits(delta, np.full(5, 4.0), np.full(5, float(count)))
    scale = np.sqrt(1 / 4 + 1 / count)
    np.testing.assert_allclose(nct.cdf(delta / scale, count - 1, low / scale), 0.975, atol=2e-4)
    np.testing.assert_allclose(nct.cdf(delta / scale, count - 1, high / scale), 0.025, atol=2e-4)


def test_beyond_the_table_they_go_on_without_a_step() -> None:
    sizes = np.geomspace(1, 1e4, 400)
    for signed in (sizes, -sizes):
        low, high = delta_limits(signed, np.full(400, 3.0), np.full(400, 3.0))
        assert (np.diff(low * np.sign(signed[0])) > 0).all()
        assert (np.diff(high * np.sign(signed[0])) > 0).all()
        ratios = np.concatenate([low[-100:] / signed[-100:], high[-100:] / signed[-100:]]).reshape(2, -1)
        assert np.ptp(ratios, axis=1).max() < 0.01


def test_they_hold_what_they_promise_for_three_seeds() -> None:
    generator, true, trials = np.random.default_rng(0), 1.5, 4_000
    retrains, trained = generator.normal(size=(trials, 3)), generator.normal(true, size=(trials, 3))
    delta = (trained.mean(1) - retrains.mean(1)) / retrains.std(1, ddof=1)
    low, high = delta_limits(delta, np.full(trials, 3.0), np.full(trials, 3.0))
    covered = float(((low <= true) & (true <= high)).mean())
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / trials)


def test_without_spread_or_without_values_there_are_none() -> None:
    low, high = delta_limits(np.ones(3), np.array([3.0, 0.0, 3.0]), np.array([1.0, 3.0, 0.0]))
    assert np.isnan(low).all()
    assert np.isnan(high).all()
