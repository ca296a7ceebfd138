from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from harness.attacks.epsilon import eps_cp, eps_gdp, eps_onerun, rate_design_effect
from harness.attacks.errors import AttackError

Draw = Callable[..., Any]


def limits(hits: int, members: int, alarms: int, others: int, level: float) -> tuple[float, float]:
    low = stats.beta.ppf(level, hits, members - hits + 1) if hits else 0.0
    return float(low), float(stats.beta.ppf(1 - level, alarms + 1, others - alarms) if alarms < others else 1.0)


def bound(tpr_low: float, fpr_high: float, delta: float) -> float:
    ratios = [(tpr_low - delta) / fpr_high, (1 - fpr_high - delta) / (1 - tpr_low)]
    return max([math.log(r) for r in ratios if r > 0] + [0.0])


@pytest.mark.parametrize(("k", "ceiling"), [(8, 0.53), (32, 2.10), (64, 2.82), (128, 3.53), (256, 4.23), (512, 4.93)])
def test_perfect_separation_ends_at_the_ceiling_of_the_sample_size(k: int, ceiling: float, pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(k), 4 * k, 1)  # 2k pairs, half of them evaluated
    result = eps_cp(np.where(u, 3.0, -3.0), u, ~u, cluster)
    assert result.epsilon == pytest.approx(ceiling, abs=0.006)
    assert (result.threshold, result.tpr, result.fpr) == (0.0, 1.0, 0.0)
    assert result.tpr_low == pytest.approx(0.025 ** (1 / k))


@pytest.mark.parametrize("delta", [0.0, 0.1])
def test_equals_the_best_threshold_of_one_half_by_brute_force(delta: float, pairs: Draw) -> None:
    rng = np.random.default_rng(1)
    u, cluster = pairs(rng, 60, 4)
    scores = np.round(rng.normal(size=(60, 4)) + 2.5 * u, 1)  # ties
    rows = cluster % 2 == 1

    def counts(rows: np.ndarray, t: float) -> tuple[int, int, int, int]:
        s, m = scores[rows], u[rows]
        return int((s[m] > t).sum()), int(m.sum()), int((s[~m] > t).sum()), int((~m).sum())

    distinct = sorted(set(scores[rows].ravel()))
    middles = [(a + b) / 2 for a, b in pairwise(distinct)]
    best = max(middles, key=lambda t: bound(*limits(*counts(rows, t), 0.05), delta))
    low, high = limits(*counts(~rows, best), 0.05)
    result = eps_cp(scores, u, ~u, cluster, delta=delta, alpha=0.1, design_effect=1.0)
    assert result.threshold == pytest.approx(best)
    assert (result.tpr_low, result.fpr_high) == pytest.approx((low, high))
    assert result.epsilon == pytest.approx(bound(low, high, delta))
    assert result.epsilon > 0


def test_both_ratios_count(pairs: Draw) -> None:
    rng = np.random.default_rng(2)
    u, cluster = pairs(rng, 400, 1)
    high_only = np.where(u & (rng.random(u.shape) < 0.5), 1.0, 0.0)  # half of the members, no other
    first = eps_cp(high_only, u, ~u, cluster)
    assert first.epsilon == pytest.approx(math.log(first.tpr_low / first.fpr_high))
    # exchanging the worlds and the sign of the scores exchanges the two ratios and nothing else
    second = eps_cp(-high_only, ~u, u, cluster)
    assert second.epsilon == pytest.approx(math.log((1 - second.fpr_high) / (1 - second.tpr_low)))
    assert second.epsilon == pytest.approx(first.epsilon)


def test_design_effect_divides_the_counts_or_counts_clusters(pairs: Draw) -> None:
    rng = np.random.default_rng(3)
    u, cluster = pairs(rng, 64, 1)
    scores = rng.normal(size=u.shape) + 4 * u
    once = eps_cp(scores, u, ~u, cluster)
    copies = [np.repeat(a, 5, axis=1) for a in (scores, u, ~u)]
    for effect in ("estimated", "clusters", 5.0):  # copies are worth nothing, by whichever way
        assert eps_cp(*copies, cluster, design_effect=effect).epsilon == pytest.approx(once.epsilon)
    assert eps_cp(*copies, cluster, design_effect=1.0).epsilon > once.epsilon + 0.5
    assert eps_cp(*copies, cluster, design_effect=20.0).epsilon < once.epsilon


def test_design_effect_of_a_rate_by_hand() -> None:
    # shares 2/2, 1/2, 0/2, 1/2 of p = 1/2: sum (h - p m)^2 = 2, n p q = 2, G / (G - 1) (n - 1) / n = 7/6
    assert rate_design_effect([1, 1, 1, 0, 0, 0, 1, 0], [3, 3, 1, 1, 2, 2, 0, 0]) == pytest.approx(7 / 6)
    assert rate_design_effect([1, 0, 1, 0], [0, 0, 1, 1]) == 1.0  # below binomial: floored
    assert rate_design_effect([1, 0, 0, 1, 0], range(5)) == pytest.approx(1.0)
    assert rate_design_effect([1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]) == 3.0  # no variance to judge by
    assert rate_design_effect([1, 0, 1], [5, 5, 5]) == 3.0
    with pytest.raises(AttackError, match=r"hits \[2\], cluster \[3\]"):
        rate_design_effect([1, 0], [0, 0, 1])


def test_design_effect_recovers_the_correlation_within_clusters() -> None:
    """Kish: 1 + (m - 1) rho for m observations a cluster with correlation rho."""
    rng = np.random.default_rng(8)
    for rho in (0.0, 0.2, 1.0):
        own = rng.random((3000, 8)) < 0.3
        shared = np.broadcast_to(rng.random((3000, 1)) < 0.3, own.shape)
        hits = np.where(rng.random(own.shape) < math.sqrt(rho), shared, own)
        found = rate_design_effect(hits.ravel(), np.repeat(np.arange(3000), 8))
        assert found == pytest.approx(1 + 7 * rho, rel=0.06)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_estimated_design_effect_keeps_the_level_of_both_limits(rho: float, pairs: Draw) -> None:
    rng = np.random.default_rng(9)
    above, wider = 0, []
    for _ in range(40):
        u, cluster = pairs(rng, 32, 20)
        shared = math.sqrt(rho) * rng.normal(size=(16, 1))[cluster]
        scores = shared + math.sqrt(1 - rho) * rng.normal(size=u.shape) + 1.5 * u
        found = eps_cp(scores, u, ~u, cluster, alpha=0.2)
        tpr, fpr = stats.norm.sf(found.threshold - 1.5), stats.norm.sf(found.threshold)
        above += (found.tpr_low > tpr) + (found.fpr_high < fpr)  # alpha / 2 each
        wider.append(found.epsilon - eps_cp(scores, u, ~u, cluster, alpha=0.2, design_effect="clusters").epsilon)
    print(f"rho {rho}: {above} of 80 limits missed, gain {np.mean(wider):.2f}")
    assert above <= 0.15 * 80
    if rho == 0.0:
        assert np.mean(wider) > 0.3


def test_only_the_order_of_the_scores_matters_and_nan_is_left_out(pairs: Draw) -> None:
    rng = np.random.default_rng(4)
    u, cluster = pairs(rng, 80, 3)
    scores = rng.normal(size=u.shape) + 3 * u
    once = eps_cp(scores, u, ~u, cluster)
    assert once.epsilon > 0
    assert eps_cp(np.tanh(scores / 5), u, ~u, cluster).epsilon == pytest.approx(once.epsilon)
    rows = rng.permutation(80)
    assert eps_cp(scores[rows], u[rows], ~u[rows], cluster[rows]) == once
    blank = np.full((80, 1), np.nan)
    wider = np.concatenate((scores, blank), axis=1), np.concatenate((u, u[:, :1]), axis=1)
    assert eps_cp(wider[0], wider[1], ~wider[1], cluster) == once


def test_no_leak_exceeds_zero_no_more_often_than_alpha(pairs: Draw) -> None:
    rng = np.random.default_rng(5)
    above = 0
    for _ in range(200):
        u, cluster = pairs(rng, 40, 1)
        above += eps_cp(rng.normal(size=u.shape), u, ~u, cluster, alpha=0.2).epsilon > 0
    assert above <= 0.2 * 200


def test_randomised_response_is_never_far_above_its_epsilon(pairs: Draw) -> None:
    rng = np.random.default_rng(6)
    epsilon = 1.5
    flip = 1 / (1 + math.exp(epsilon))
    found = []
    for _ in range(100):
        u, cluster = pairs(rng, 400, 1)
        found.append(eps_cp((u ^ (rng.random(u.shape) < flip)).astype(float), u, ~u, cluster).epsilon)
    assert np.mean(np.array(found) > epsilon) <= 0.05
    assert np.mean(found) > 0.7


def test_many_thresholds_are_thinned_without_losing_the_tails(pairs: Draw) -> None:
    rng = np.random.default_rng(7)
    u, cluster = pairs(rng, 200, 200)
    scores = rng.normal(size=u.shape)
    tail = u & (rng.random(u.shape) < 0.02)
    scores[tail] += 20
    result = eps_cp(scores, u, ~u, cluster, design_effect=1.0)
    assert 3.5 < result.threshold < 20
    assert result.epsilon > 2


def test_a_constant_score_bounds_nothing(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(0), 40, 2)
    assert eps_cp(np.zeros(u.shape), u, ~u, cluster).epsilon == 0.0


def test_cp_refuses_what_it_cannot_work_with(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(0), 8, 2)
    scores = np.zeros((8, 2))
    options: list[tuple[dict[str, Any], str]] = [
        ({"delta": 1.0}, "delta is 1.0; it is below 1 and at least 0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"design_effect": 0.5}, "design_effect is 0.5"),
        ({"design_effect": "cluster"}, "design_effect is cluster"),
    ]
    for option, message in options:
        with pytest.raises(AttackError, match=message):
            eps_cp(scores, u, ~u, cluster, **option)
    with pytest.raises(AttackError, match="cells are in both worlds"):
        eps_cp(scores, u, u, cluster)
    with pytest.raises(AttackError, match="no score in O"):
        eps_cp(scores, u, np.zeros_like(u), cluster)
    with pytest.raises(AttackError, match="half of the clusters has no score in U"):
        eps_cp(scores, u, ~u, np.zeros(8))
    scores[3, 1] = np.inf
    with pytest.raises(AttackError, match="scores row 3 is infinite at example 1"):
        eps_cp(scores, u, ~u, cluster)


@pytest.mark.parametrize(("auc", "delta"), [(0.6, 1e-2), (0.76, 1e-5), (0.76, 1e-2), (0.99, 1e-5), (0.9999, 1e-8)])
def test_gdp_epsilon_leaves_delta_between_two_normal_distributions(auc: float, delta: float) -> None:
    mu = math.sqrt(2) * stats.norm.ppf(auc)
    assert stats.norm.cdf(mu / math.sqrt(2)) == pytest.approx(auc)
    epsilon = eps_gdp(auc, delta=delta)
    # the hockey-stick divergence of N(mu, 1) from N(0, 1), integrated where the log ratio exceeds epsilon
    start = epsilon / mu + mu / 2
    value, _ = integrate.quad(
        lambda x: stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x),
        start,
        start + 12,
        epsabs=0,
        epsrel=1e-9,
    )
    assert value == pytest.approx(delta, rel=1e-6)


def test_gdp_limits() -> None:
    assert eps_gdp(0.5, delta=1e-5) == eps_gdp(0.3, delta=1e-5) == 0.0
    assert eps_gdp(0.5001, delta=0.01) == 0.0
    assert eps_gdp(1.0, delta=1e-5) == math.inf
    values = [eps_gdp(a, delta=1e-5) for a in (0.51, 0.6, 0.8, 0.95, 0.999)]
    assert values == sorted(values)
    assert eps_gdp(0.8, delta=1e-3) < eps_gdp(0.8, delta=1e-6)
    for auc, delta, message in ((1.2, 1e-5, "AUC is 1.2"), (math.nan, 1e-5, "AUC is nan"), (0.7, 0.0, "above 0")):
        with pytest.raises(AttackError, match=message):
            eps_gdp(auc, delta=delta)


@pytest.mark.parametrize(("correct", "guesses"), [(60, 80), (100, 100), (560, 1000), (19, 20)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_onerun_epsilon_is_where_the_binomial_tail_reaches_alpha(correct: int, guesses: int, alpha: float) -> None:
    def chance(epsilon: float) -> float:
        return float(stats.binom.sf(correct - 1, guesses, 1 / (1 + math.exp(-epsilon))))

    epsilon = eps_onerun(correct, guesses, alpha=alpha)
    assert epsilon > 0
    assert chance(epsilon - 1e-6) < alpha < chance(epsilon + 1e-6)


def test_onerun_limits() -> None:
    p = 0.05 ** (1 / 40)
    assert eps_onerun(40, 40) == pytest.approx(math.log(p / (1 - p)))
    assert eps_onerun(20, 40) == eps_onerun(0, 40) == eps_onerun(24, 40) == 0.0
    for correct, guesses in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(AttackError, match=f"{correct} correct of {guesses} guesses"):
            eps_onerun(correct, guesses)
    with pytest.raises(AttackError, match=r"alpha is 1\.0"):
        eps_onerun(5, 5, alpha=1.0)
