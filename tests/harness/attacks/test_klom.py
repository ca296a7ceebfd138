from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.attacks.errors import AttackError
from harness.attacks.klom import (
    gaussian_kl,
    gaussian_kl_interval,
    half_sample_interval,
    klom,
    klom_floor,
    klom_interval,
)


def one_example(oracle: np.ndarray, unlearned: np.ndarray, edge: str) -> float:
    """The published recipe for one example, counting one margin at a time."""
    a, b = np.clip(oracle, -100, 100), np.clip(unlearned, -100, 100)
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 21)
    shares = []
    for sample in (a, b):
        counts = [0.0] * 20
        for margin in sample:
            position = int(np.digitize(margin, edges)) - 1
            if position == 20 and edge == "fix":
                position = 19
            if position < 20:
                counts[position] += 1
        shares.append([c / len(sample) for c in counts])
    p, q = shares
    q = [max(v, 1e-5) if u > 0 else v for u, v in zip(p, q, strict=True)]
    return float(stats.entropy(p, q))


@pytest.mark.parametrize("edge", ["compat", "fix"])
@pytest.mark.parametrize(("n1", "n2"), [(30, 30), (17, 41)])
def test_equals_scipy_entropy_of_histograms_counted_by_hand(edge: Any, n1: int, n2: int) -> None:
    rng = np.random.default_rng(n1)
    oracle = rng.normal(0, 3, (n1, 40)) + rng.normal(0, 5, 40)
    unlearned = rng.normal(1, 2, (n2, 40))
    oracle[0, 3], unlearned[1, 4], unlearned[:, 5], oracle[1, 5] = np.inf, -4000.0, 2.5, 40.0
    forward = [one_example(oracle[:, i], unlearned[:, i], edge) for i in range(40)]
    backward = [one_example(unlearned[:, i], oracle[:, i], edge) for i in range(40)]
    np.testing.assert_allclose(klom(oracle, unlearned, edge=edge), forward, rtol=1e-12)
    np.testing.assert_allclose(klom(oracle, unlearned, "unlearned_oracle", edge), backward, rtol=1e-12)
    assert not np.allclose(forward, backward, rtol=0.1)


def test_the_edge_decides_whether_the_largest_margin_counts() -> None:
    oracle, unlearned = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [1.0], [1.0]])
    np.testing.assert_allclose(klom(oracle, unlearned, edge="fix"), 0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    np.testing.assert_allclose(klom(oracle, unlearned, edge="compat"), 0.0, atol=1e-15)


def test_an_empty_bin_has_the_smallest_share() -> None:
    oracle, unlearned = np.array([[0.0], [5.0]]), np.array([[0.0], [20.0]])
    expected = 0.5 * np.log(0.5 / (0.5 / 1.00001)) + 0.5 * np.log(0.5 / (1e-5 / 1.00001))
    np.testing.assert_allclose(klom(oracle, unlearned, edge="fix"), expected)


def test_constant_samples() -> None:
    equal = np.full((4, 2), 3.0)
    np.testing.assert_array_equal(klom(equal, equal, edge="fix"), 0.0)
    assert (klom(equal, equal + 1, edge="fix") > 10).all()
    with pytest.raises(AttackError, match=r"unlearned: all margins of example 0 .*edge='fix'"):
        klom(equal, equal + 1, "unlearned_oracle")


@pytest.mark.parametrize(("models", "mean", "p95"), [(64, 0.62, 1.29), (256, 0.11, 0.215)])
def test_identical_worlds_have_the_published_floor(models: int, mean: float, p95: float) -> None:
    rng = np.random.default_rng(0)
    values = klom(*rng.normal(size=(2, models, 1500)))
    np.testing.assert_allclose([values.mean(), np.percentile(values, 95)], [mean, p95], rtol=0.08)
    floor = klom_floor(rng.normal(size=(2 * models, 1500)))
    np.testing.assert_allclose(floor.mean(), mean, rtol=0.08)


def test_the_floor_compares_the_two_halves_in_both_directions() -> None:
    oracle = np.random.default_rng(1).normal(size=(31, 6))
    a, b = oracle[:15], oracle[16:]
    np.testing.assert_allclose(klom_floor(oracle), (klom(a, b) + klom(b, a)) / 2)
    assert (klom_floor(oracle, "fix") != klom_floor(oracle)).any()


def test_gaussian_divergence_of_the_fitted_moments() -> None:
    oracle, unlearned = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([[1.0], [2.0], [3.0], [4.0]])
    v1, v2 = 20 / 3, 5 / 3
    expected = 0.5 * np.log(v2 / v1) + (v1 + 0.5**2) / (2 * v2) - 0.5
    np.testing.assert_allclose(gaussian_kl(oracle, unlearned, corrected=False), expected)
    swapped = 0.5 * np.log(v1 / v2) + (v2 + 0.5**2) / (2 * v1) - 0.5
    np.testing.assert_allclose(gaussian_kl(oracle, unlearned, "unlearned_oracle", corrected=False), swapped)


@pytest.mark.parametrize(("k1", "k2"), [(12, 12), (9, 30), (200, 16)])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.5)])
def test_the_correction_removes_the_bias(k1: int, k2: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(k1)
    oracle, unlearned = rng.normal(shift, 1, (k1, 5_000)), rng.normal(0, scale, (k2, 5_000))
    true = np.log(scale) + (1 + shift**2) / (2 * scale**2) - 0.5
    values = gaussian_kl(oracle, unlearned)
    error = values.std() / np.sqrt(values.size)
    assert abs(values.mean() - true) < 4 * error
    assert gaussian_kl(oracle, unlearned, corrected=False).mean() - true > 8 * error


def test_many_models_give_the_true_gaussian_divergence() -> None:
    rng = np.random.default_rng(2)
    values = gaussian_kl(rng.normal(1, 1, (20_000, 3)), rng.normal(0, 1, (20_000, 3)))
    np.testing.assert_allclose(values, 0.5, atol=0.03)


def test_gaussian_samples_without_spread() -> None:
    flat, spread = np.full((5, 1), 0.1), np.arange(5.0).reshape(5, 1)
    for corrected in (True, False):
        assert gaussian_kl(flat, flat, corrected=corrected) == 0
        for pair in ((flat, spread), (spread, flat), (flat, flat + 1)):
            assert gaussian_kl(*pair, corrected=corrected) == np.inf


def test_unreadable_arrays_are_named() -> None:
    good = np.random.default_rng(0).normal(size=(6, 3))
    bad = good.copy()
    bad[4, 1] = np.nan
    for call, message in (
        (lambda: klom(good, bad), "unlearned is NaN in row 4, example 1"),
        (lambda: klom_floor(bad), "oracle is NaN in row 4, example 1"),
        (lambda: klom(good[:, :2], good), r"oracle \[6, 2\], unlearned \[6, 3\]"),
        (lambda: klom(good[0], good), r"oracle is \[3\]"),
        (lambda: klom(good, good[:0]), r"unlearned is \[0, 3\]"),
        (lambda: klom(good, good, "oracle"), "unknown direction 'oracle'"),
        (lambda: klom(good, good, edge="fixed"), "did you mean 'fix'"),
        (lambda: klom_floor(good[:1]), "2 models or more"),
        (lambda: gaussian_kl(good, good[:3]), r"unlearned is \[3, 3\]; .* 4 models or more"),
    ):
        with pytest.raises(AttackError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_half_samples_give_the_standard_error_of_a_mean() -> None:
    """Of a mean over n rows the spread over halves estimates sd / sqrt(n); worlds of two sizes add up."""
    rng = np.random.default_rng(3)
    worlds = rng.normal(size=(41, 1)), rng.normal(0, 3, (30, 1))
    found = half_sample_interval(lambda w: float(w[1].mean() - w[0].mean()), worlds, samples=2000, seed=1)
    assert found.value == worlds[1].mean() - worlds[0].mean()
    assert found.se == pytest.approx(np.sqrt(sum(w.var(ddof=1) / len(w) for w in worlds)), rel=0.06)
    width = stats.t.ppf(0.975, 29) * found.se
    assert (found.low, found.high) == pytest.approx((found.value - width, found.value + width))


def test_interval_of_klom_is_about_the_excess_over_the_floor() -> None:
    rng = np.random.default_rng(4)
    oracle, unlearned = rng.normal(size=(65, 30)), rng.normal(0, 1, (50, 30))
    alike = klom_interval(oracle, unlearned, samples=20)
    expected = klom(oracle[:32], unlearned[:32]).mean() - klom_floor(oracle[:64]).mean()
    assert alike.value == pytest.approx(expected)
    assert alike.low < 0 < alike.high
    assert klom_interval(oracle, unlearned + 2, samples=20).low > 0
    assert klom_interval(oracle, unlearned, samples=20) == alike
    assert klom_interval(oracle, unlearned, samples=20, seed=1).se != alike.se
    backward = klom(oracle[:32], unlearned[:32], "unlearned_oracle", "fix").mean()
    other = klom_interval(oracle, unlearned, "unlearned_oracle", "fix", samples=2)
    assert other.value == pytest.approx(backward - klom_floor(oracle[:64], "fix").mean())


def test_gaussian_interval_covers_the_true_divergence() -> None:
    """Models that share a shift over all examples: an error over examples alone would be far too small."""
    rng = np.random.default_rng(5)
    covered, errors, values = 0, [], []
    for seed in range(40):
        oracle, unlearned = (rng.normal(size=(24, 20)) * 0.8 + rng.normal(size=(24, 1)) * 0.6 for _ in range(2))
        found = gaussian_kl_interval(oracle, unlearned + 1, samples=40, seed=seed)
        covered += found.low <= 0.5 <= found.high
        errors.append(found.se)
        values.append(found.value)
    assert covered >= 35
    assert 0.7 < np.sqrt(np.mean(np.square(errors))) / np.std(values) < 1.8


def test_intervals_refuse_what_has_none() -> None:
    good = np.random.default_rng(0).normal(size=(8, 3))
    flat = np.ones((8, 3))
    for call, message in (
        (lambda: klom_interval(good[:3], good), r"oracle is \[3, 3\]; .* 4 models or more"),
        (lambda: gaussian_kl_interval(good, good[:7]), r"unlearned is \[7, 3\]; .* 8 models or more"),
        (lambda: gaussian_kl_interval(good, flat), "statistic is infinite"),
        (lambda: klom_interval(good, good, samples=1), "1 half samples"),
        (lambda: klom_interval(good, good[:, :2]), "over the same examples"),
    ):
        with pytest.raises(AttackError, match=message):
            call()
