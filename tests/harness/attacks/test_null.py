"""What the attack says when there is nothing to find, and when there is everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.attacks.curves import auc
from harness.attacks.evaluate import audit
from harness.attacks.student import VARIANCES
from harness.attacks.ulira import stack_retrains, ulira

Draw = Callable[..., Any]


def in_sample(phi: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The naive attack: two Gaussians for each example, fitted to the very scores that they judge."""
    densities = []
    for world in (u, ~u):
        columns = np.where(world, phi, np.nan)
        densities.append(stats.norm.logpdf(phi, np.nanmean(columns, axis=0), np.nanstd(columns, axis=0, ddof=1)))
    return densities[0] - densities[1]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def test_only_leaving_out_the_pair_is_unbiased_under_no_leakage(pairs: Draw) -> None:
    rng = np.random.default_rng(0)
    naive, row_out, pair_out = [], [], []
    for _ in range(200):
        u, cluster = pairs(rng, 16, 50)
        phi = rng.normal(rng.normal(0, 3, 50), np.exp(0.5 * rng.normal(size=50)), (16, 50))
        for scores, aucs in (
            (in_sample(phi, u), naive),
            (ulira(phi, u, ~u, np.arange(16)), row_out),
            (ulira(phi, u, ~u, cluster), pair_out),
        ):
            aucs.append(auc(scores[u], scores[~u]))
    mean, error = mean_and_error(pair_out)
    assert abs(mean - 0.5) < 4 * error < 0.01
    assert mean_and_error(naive)[0] > 0.6
    assert mean_and_error(row_out)[0] < 0.5 - 4 * mean_and_error(row_out)[1]


@pytest.mark.parametrize("variance", VARIANCES)
def test_no_variance_mode_sees_leakage_where_there_is_none(variance: Any, pairs: Draw) -> None:
    rng = np.random.default_rng(1)
    aucs = []
    for _ in range(100):
        u, cluster = pairs(rng, 8, 50)
        release = rng.normal(size=(8, 1)) + rng.normal(size=(8, 50)) * np.exp(0.5 * rng.normal(size=50))
        scores = ulira(release, u, ~u, cluster, variance)
        aucs.append(auc(scores[u], scores[~u]))
    mean, error = mean_and_error(aucs)
    assert abs(mean - 0.5) < 4 * error + 0.002  # a bias of 0.001 at 8 shadows is known
    assert error < 0.006


def test_membership_that_was_permuted_says_nothing(pairs: Draw) -> None:
    rng = np.random.default_rng(2)
    u, cluster = pairs(rng, 64, 80)
    phi = rng.normal(size=(64, 80)) + 3 * u
    honest = audit(phi, u, ~u, cluster)[0]
    assert honest.low is not None
    assert honest.low > 0.9
    permuted, _ = pairs(rng, 64, 80)
    result = audit(phi, permuted, ~permuted, cluster)[0]
    assert result.low is not None
    assert result.high is not None
    assert result.low < 0.5 < result.high


def test_identity_leaks_as_much_as_the_original(pairs: Draw) -> None:
    """A method that does nothing: the attacker gains nothing from fitting on the releases themselves."""
    rng = np.random.default_rng(3)
    u, cluster = pairs(rng, 32, 60)
    original = rng.normal(size=(32, 60)) + 4 * u
    adaptive = audit(original, u, ~u, cluster)
    assert audit(original, u, ~u, cluster, level="L1", fit_phi=original) == adaptive
    assert adaptive[0].value is not None
    assert adaptive[0].value > 0.98


def test_over_forgetting_fools_the_global_threshold_and_not_the_likelihood_ratio(pairs: Draw) -> None:
    rng = np.random.default_rng(4)
    u, cluster = pairs(rng, 32, 60)
    original, release = rng.normal(size=(32, 60)) + u, rng.normal(size=(32, 60)) - u
    values = [
        audit(release, u, ~u, cluster, level=level, fit_phi=original if level == "L1" else None)[0].value
        for level in ("L0", "L1", "L2")
    ]
    assert values[0] < 0.35
    assert values[1] < 0.35
    assert values[2] > 0.65


def test_retrains_as_null_give_a_half_for_retraining_and_see_a_global_shift(pairs: Draw) -> None:
    rng = np.random.default_rng(5)
    u, cluster = pairs(rng, 32, 60)
    retrains = rng.normal(size=(32, 60)) + rng.normal(size=60)
    same = audit(*stack_retrains(retrains, u, cluster, retrains, cluster))[0]
    assert same.value == pytest.approx(0.5, abs=0.02)
    assert same.low < 0.5 < same.high
    shifted = retrains + rng.normal(size=(32, 60)) + 2
    assert audit(*stack_retrains(shifted, u, cluster, retrains, cluster))[0].low > 0.6
    # the same shift is in both worlds of the other null, which therefore does not see it
    assert audit(shifted, u, ~u, cluster)[0].low < 0.5


def test_constant_output_passes_one_null_and_fails_the_other(pairs: Draw) -> None:
    rng = np.random.default_rng(6)
    u, cluster = pairs(rng, 16, 40)
    broken = np.full((16, 40), -np.log(9.0))
    never_in = audit(broken, u, ~u, cluster)[0]
    assert (never_in.value, never_in.low, never_in.high, never_in.p_value) == (0.5, 0.5, 0.5, 1.0)
    retrained = audit(*stack_retrains(broken, u, cluster, 3 + rng.normal(size=(16, 40)), cluster))[0]
    assert retrained.value > 0.99
