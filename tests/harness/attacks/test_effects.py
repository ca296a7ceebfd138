from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.attacks.effects import example_effects, growth, normality
from harness.attacks.errors import AttackError
from harness.attacks.evaluate import audit

Draw = Callable[..., Any]


def test_one_example_of_independent_rows_is_the_two_sample_t_test() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 2.0):
        u = np.arange(15)[:, None] < 6
        phi = rng.normal(shift * u, 3)
        found = example_effects(phi, u, ~u, np.arange(15))
        test = stats.ttest_ind(phi[u], phi[~u])
        assert found.p_value[0] == pytest.approx(test.pvalue)
        sd = math.sqrt((5 * phi[u].var(ddof=1) + 8 * phi[~u].var(ddof=1)) / 13)
        d = (phi[u].mean() - phi[~u].mean()) / sd
        assert found.d[0] == pytest.approx(d)
        assert found.se[0] == pytest.approx(math.sqrt(1 / 6 + 1 / 9 + d * d / 26))
        assert (found.k_u[0], found.k_o[0], found.correlation) == (6, 9, 0.0)


def test_equal_variances_share_all_degrees_of_freedom(pairs: Draw) -> None:
    """Examples of one variance: the prior has infinite weight, and the test is a z test with the pooled sd."""
    rng = np.random.default_rng(1)
    u, _ = pairs(rng, 16, 400)
    base = rng.normal(size=(8, 1))
    phi = np.where(u, 0.0, 5.0)  # the same eight values in each world of each example
    for world in (u, ~u):
        for e in range(400):
            phi[world[:, e], e] += rng.permutation(base[:, 0])
    found = example_effects(phi, u, ~u, np.arange(16))
    sd = base.std(ddof=1)
    np.testing.assert_allclose(found.d, -5 / sd)
    np.testing.assert_allclose(found.p_value, 2 * stats.norm.sf(5 / sd / math.sqrt(2 / 8)))


def test_auc_equals_mann_whitney_of_each_example(pairs: Draw) -> None:
    rng = np.random.default_rng(2)
    u, cluster = pairs(rng, 20, 12)
    o = ~u
    o[::5] = False  # some rows are in neither world
    u[1::5] = False
    phi = np.round(rng.normal(u * 1.0, 1), 1)  # ties
    found = example_effects(phi, u, o, cluster)
    for e in range(12):
        first, second = phi[u[:, e], e], phi[o[:, e], e]
        expected = stats.mannwhitneyu(first, second).statistic / (first.size * second.size)
        assert found.auc[e] == pytest.approx(expected)


@pytest.mark.parametrize("r", [-1.0, -0.5, 0.0, 0.6])
def test_pairs_that_depend_on_each_other_keep_the_level_of_the_test(r: float, pairs: Draw) -> None:
    rng = np.random.default_rng(3)
    u, cluster = pairs(rng, 32, 4000)
    first, second = rng.normal(size=(2, 16, 4000))
    phi = np.empty(u.shape)
    phi[0::2], phi[1::2] = first, r * first + math.sqrt(1 - r * r) * second
    phi *= np.exp(0.5 * rng.normal(size=4000))  # unequal spread over examples
    found = example_effects(phi, u, ~u, cluster)
    assert found.correlation == pytest.approx(r, abs=0.04)
    assert np.mean(found.p_value < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.std(found.d) == pytest.approx(math.sqrt(2 / 16 * (1 - r)), rel=0.06)
    assert np.median(found.se) == pytest.approx(np.std(found.d), rel=0.1)


def test_false_discoveries_stay_below_their_rate(pairs: Draw) -> None:
    rng = np.random.default_rng(4)
    proportions, found_true, nulls = [], 0, 0
    for _ in range(60):
        u, cluster = pairs(rng, 32, 60)
        true = np.arange(60) < 15
        flags = example_effects(rng.normal(2.0 * (u & true), 1), u, ~u, cluster).flagged(0.2)
        proportions.append(np.mean(~true[flags]) if flags.any() else 0.0)
        found_true += int(flags[true].sum())
        nulls += bool(example_effects(rng.normal(size=u.shape), u, ~u, cluster).flagged(0.2).any())
    assert 0.05 < np.mean(proportions) < 0.2
    assert found_true > 0.9 * 60 * 15
    assert nulls / 60 < 0.2 + 3 * math.sqrt(0.2 * 0.8 / 60)


def test_shifts_scales_rows_and_an_exchange_of_worlds(pairs: Draw) -> None:
    rng = np.random.default_rng(5)
    u, cluster = pairs(rng, 16, 7)
    phi = rng.normal(u * 1.0, 1)
    found = example_effects(phi, u, ~u, cluster)
    moved = example_effects(3 * phi + np.arange(7), u, ~u, cluster)
    mirrored = example_effects(phi, ~u, u, cluster)
    rows = rng.permutation(16)
    shuffled = example_effects(phi[rows], u[rows], ~u[rows], cluster[rows])
    for name in ("d", "se", "p_value", "auc"):
        for other in (moved, shuffled):
            np.testing.assert_allclose(getattr(other, name), getattr(found, name), rtol=1e-9)
    np.testing.assert_allclose(mirrored.d, -found.d)
    np.testing.assert_allclose(mirrored.auc, 1 - found.auc)
    np.testing.assert_allclose(mirrored.p_value, found.p_value)


def test_too_few_observations_are_marked_and_diverged_releases_are_no_observation(pairs: Draw) -> None:
    rng = np.random.default_rng(6)
    u, cluster = pairs(rng, 12, 5)
    phi = rng.normal(u * 1.0, 1)
    expected = example_effects(phi, u, ~u, cluster)
    assert not expected.insufficient.any()
    wide = np.concatenate((phi, phi[:, :1]), axis=1)
    members = np.concatenate((u, u[:, :1]), axis=1)
    wide[np.flatnonzero(u[:, 0])[:4], 5] = np.nan  # two of six are left
    found = example_effects(wide, members, ~members, cluster)
    np.testing.assert_array_equal(found.insufficient, [False] * 5 + [True])
    assert (found.k_u[5], found.k_o[5]) == (2, 6)
    for name in ("d", "se", "p_value", "auc"):
        np.testing.assert_array_equal(getattr(found, name), [*getattr(expected, name), np.nan])
    assert not found.flagged(0.99)[5]

    phi[np.flatnonzero(u[:, 2])[0], 2] = np.nan
    holed = example_effects(phi, u, ~u, cluster)
    assert np.isfinite([holed.d, holed.se, holed.p_value, holed.auc]).all()
    none = example_effects(phi[:4], u[:4], ~u[:4], cluster[:4])
    assert none.insufficient.all()
    assert np.isnan(none.p_value).all()
    assert not none.flagged().any()


def test_models_without_any_spread_have_a_certain_answer() -> None:
    u = np.arange(8)[:, None] < [4, 4]
    found = example_effects(np.where(u, [1.0, 0.0], 0.0), u, ~u, np.arange(8))
    assert np.isfinite([found.d, found.se]).all()
    np.testing.assert_array_equal(found.p_value < 1e-6, [True, False])
    np.testing.assert_array_equal(found.auc, [1.0, 0.5])


def test_normality_is_the_share_that_shapiro_rejects() -> None:
    rng = np.random.default_rng(7)
    normal, skewed = rng.normal(size=(40, 60)), rng.exponential(size=(40, 60))
    phi = np.concatenate((normal, skewed), axis=1)
    mask = rng.random(phi.shape) < 0.7
    rejected = [stats.shapiro(phi[mask[:, e], e]).pvalue < 0.05 for e in range(120)]
    assert normality(phi, mask) == pytest.approx(np.mean(rejected))
    assert normality(normal, mask[:, :60]) < 0.15 < 0.7 < normality(skewed, mask[:, 60:])
    phi[:, 60:] = 1.0
    assert normality(phi, mask) == pytest.approx(np.mean(rejected[:60]))
    with pytest.raises(AttackError, match="no example has 3 finite phi that differ"):
        normality(phi[:, 60:], mask[:, 60:])


def test_growth_is_the_audit_of_the_first_clusters(pairs: Draw) -> None:
    rng = np.random.default_rng(8)
    u, cluster = pairs(rng, 24, 30)
    phi = rng.normal(u * 1.0, 1)
    rows = rng.permutation(24)  # rows in any order: the first clusters count, not the first rows
    found = growth(phi[rows], u[rows], ~u[rows], cluster[rows] + 3, [8, 16, 24])
    assert [r.n for r in found] == [8, 16, 24]
    for result in found:
        n = result.n
        expected = audit(phi[:n], u[:n], ~u[:n], cluster[:n])[0]
        assert result.metric == "auc"
        assert (result.value, result.low, result.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_arrays_that_do_not_fit_are_refused(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(9), 12, 4)
    phi = np.zeros((12, 4))
    for call, message in (
        (lambda: growth(phi, u, ~u, cluster, [7]), r"7 rows are no whole number of clusters; near it are \[6, 8\]"),
        (lambda: growth(phi, u, ~u, cluster, [14]), r"14 rows .* \[10, 12\]"),
        (lambda: example_effects(phi, u, ~u, cluster).flagged(1.0), "q is 1.0"),
        (lambda: normality(phi, u[:3]), r"phi \[12, 4\], mask \[3, 4\]"),
        (lambda: example_effects(phi[:, :2], u, ~u, cluster), "phi"),
    ):
        with pytest.raises(AttackError, match=message):
            call()
