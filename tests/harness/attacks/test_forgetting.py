from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.attacks.errors import AttackError
from harness.attacks.forgetting import (
    epsilons,
    example_scores,
    final_score,
    forgetting_interval,
    forgetting_null,
    forgetting_quality,
    rule_epsilon,
)

TIE = 1e-9  # one start of the interval grid equals the smallest phi, up to rounding


def best(errors_1: np.ndarray, errors_2: np.ndarray) -> float:
    """The largest epsilon of rules that survive, from their two error rates, one rule at a time."""
    largest = 0.0
    for fpr, fnr in set(zip(errors_1.tolist(), errors_2.tolist(), strict=True)):
        if fpr == 0 and fnr == 0:
            return 50.0
        if fpr == 0 or fnr == 0:
            continue
        for a, b in ((fpr, fnr), (fnr, fpr)):
            if 1 - 1e-5 - a > 0:
                largest = max(largest, math.log((1 - 1e-5 - a) / b))
    return min(largest, 50.0)


def brute_force(u: np.ndarray, r: np.ndarray, single: bool = True, double: bool = True) -> float:
    """Every threshold and every interval of the published grid, compared with every phi."""
    positive, negative = (r, u) if np.median(r) > np.median(u) else (u, r)
    a, b = np.ptp(u), np.ptp(r)
    if a == b == 0:
        return 0.0 if u[0] == r[0] else 50.0
    if min(a, b) / max(a, b) < 0.01:
        return 50.0
    found = [0.0]
    if single:
        pooled = np.concatenate((u, r))
        grid = np.linspace(pooled.min(), pooled.max(), math.ceil(np.ptp(pooled) * 100))[:, None]
        found.append(best((negative >= grid).mean(axis=1), (positive < grid).mean(axis=1)))
    if double:
        peaky, other = (positive, negative) if np.ptp(positive) < np.ptp(negative) else (negative, positive)
        width = np.ptp(peaky)
        for right in np.linspace(peaky.min() + width - 2, peaky.max() + 2, 400):
            left = np.linspace(right - width - 2, right - width + 2, 400)[:, None] - TIE
            found.append(
                best(
                    ((other >= left) & (other <= right)).mean(axis=1),
                    1 - ((peaky >= left) & (peaky <= right)).mean(axis=1),
                )
            )
    return max(found)


@pytest.mark.parametrize(
    ("shift", "scale", "m", "n"),
    [(0, 1, 24, 24), (0.8, 0.5, 24, 40), (-1.5, 1, 32, 24), (0.2, 4, 40, 40), (5, 1, 24, 24), (0, 0.1, 24, 24)],
)
def test_equals_every_rule_of_the_published_grid(shift: float, scale: float, m: int, n: int) -> None:
    rng = np.random.default_rng(m + n)
    unlearned, retrained = rng.normal(shift, scale, (m, 4)), rng.normal(0, 1, (n, 4))
    expected = [brute_force(unlearned[:, i], retrained[:, i]) for i in range(4)]
    np.testing.assert_allclose(epsilons(unlearned, retrained), expected, rtol=1e-12)


@pytest.mark.parametrize("family", ["single", "double"])
def test_each_family_finds_what_the_other_misses(family: str) -> None:
    rng = np.random.default_rng(3)
    if family == "double":  # centres agree: only an interval tells them apart
        unlearned, retrained = rng.uniform(-0.2, 0.2, (30, 1)), rng.uniform(-6, 6, (30, 1))
    else:  # both ranges are alike, and no interval may start so far from the end of the narrower one
        unlearned = np.append(rng.uniform(12, 20, 28), [0.0, 1.0]).reshape(-1, 1)
        retrained = np.append(rng.uniform(0, 8, 28), [-1.0, 20.5]).reshape(-1, 1)
    u, r = unlearned[:, 0], retrained[:, 0]
    both, other = brute_force(u, r), brute_force(u, r, single=family == "double", double=family == "single")
    assert other < both
    np.testing.assert_allclose(epsilons(unlearned, retrained), both)


def test_known_rules() -> None:
    values = rule_epsilon([0.02, 0.3, 0.5, 1 / 512, 1.0], [0.10, 0.4, 0.5, 1 / 512, 1.0])
    np.testing.assert_allclose(values, [3.806651, 0.693131, 0.0, 6.236350, 0.0], atol=2e-5)
    np.testing.assert_array_equal(rule_epsilon([0.0, 0.0, 0.2], [0.0, 0.2, 0.0]), [50.0, 0.0, 0.0])
    assert rule_epsilon(0.1, 0.1, delta=0.5) == pytest.approx(math.log(4))


def test_perfect_separation_and_methods_without_randomness() -> None:
    rng = np.random.default_rng(0)
    retrained = rng.normal(size=(24, 1))
    for unlearned in (
        retrained + 100,
        np.full((24, 1), np.median(retrained)),
        np.median(retrained) + 0.009 * (retrained - np.median(retrained)),
    ):
        assert epsilons(unlearned, retrained) == 50
    just_wide_enough = np.median(retrained) + 0.011 * (retrained - np.median(retrained))
    assert epsilons(just_wide_enough, retrained) < 50
    constant = np.full((4, 2), 1.0)
    np.testing.assert_array_equal(epsilons(constant, constant + np.array([0.0, 1e-3])), [0.0, 50.0])


def test_without_a_surviving_rule_epsilon_is_zero() -> None:
    """All phi within one step of the grid: each threshold and interval holds all or nothing."""
    sample = np.array([[0.0], [1e-4], [2e-4]])
    assert epsilons(sample, sample) == 0


def test_an_overflowed_phi_counts_as_the_largest_one() -> None:
    rng = np.random.default_rng(0)
    unlearned, retrained = rng.normal(size=(2, 24, 1))
    unlearned[3], retrained[5] = np.inf, np.inf
    assert np.isfinite(epsilons(unlearned, retrained)).all()


def test_bins_halve_the_score() -> None:
    values = [0.0, 0.49, 0.5, 1.609, 6.0, 6.49, 6.99, 7.0, 50.0]
    expected = [1, 1, 1 / 2, 1 / 8, 2**-12, 2**-12, 2**-13, 0, 0]
    np.testing.assert_array_equal(example_scores(values, 512), expected)
    assert example_scores(4.9, 64) == 2**-9
    assert example_scores(5.0, 64) == 0


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.13, 0.21), (1.0, 0.030, 0.055)])
def test_known_values_of_shifted_normals_at_64_models(shift: float, low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    quality = forgetting_quality(rng.normal(shift, 1, (64, 100)), rng.normal(size=(128, 100)))
    assert low < quality.matched < high
    assert 0.13 < quality.null < 0.21
    assert quality.ratio == pytest.approx(quality.matched / quality.null)


def test_value_null_and_ratio_come_from_the_stated_models() -> None:
    rng = np.random.default_rng(2)
    unlearned, retrained = rng.normal(0.3, 1, (30, 5)), rng.normal(size=(41, 5))
    quality = forgetting_quality(unlearned, retrained)
    assert (quality.models, quality.null_models) == (30, 20)

    def score(u: Any, r: Any) -> float:
        return float(example_scores(epsilons(u, r), min(len(u), len(r))).mean())

    np.testing.assert_array_equal(quality.epsilon, epsilons(unlearned, retrained))
    assert quality.value == score(unlearned, retrained)
    assert quality.null == score(retrained[20:40], retrained[:20])
    assert quality.matched == score(unlearned[:20], retrained[:20])


def test_nothing_to_divide_by_has_no_ratio() -> None:
    apart = np.concatenate((np.linspace(0, 1, 8), np.linspace(50, 51, 8))).reshape(-1, 1)
    quality = forgetting_quality(apart[:8], apart)
    assert (quality.null, quality.ratio) == (0.0, None)


def test_the_order_of_the_models_and_a_shift_of_both_worlds_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    unlearned, retrained = rng.normal(0.5, 2, (24, 6)), rng.normal(size=(24, 6))
    expected = epsilons(unlearned, retrained)
    np.testing.assert_array_equal(epsilons(rng.permutation(unlearned), rng.permutation(retrained)), expected)
    np.testing.assert_allclose(epsilons(unlearned + 8, retrained + 8), expected)


def test_final_score_multiplies_the_ratios_of_accuracy() -> None:
    assert final_score(0.1, 0.9, 0.8, 0.6, 0.75) == pytest.approx(0.1 * 1.125 * 0.8)
    for arguments, message in (
        ((1.1, 1, 1, 1, 1), "forgetting quality is 1.1"),
        ((math.nan, 1, 1, 1, 1), "forgetting quality is nan"),
        ((0.1, 1, 0, 1, 1), "retrained_retain_accuracy is 0"),
        ((0.1, 1, 1, math.nan, 1), "unlearned_test_accuracy is nan"),
        ((0.1, -1, 1, 1, 1), "unlearned_retain_accuracy is -1"),
    ):
        with pytest.raises(AttackError, match=message):
            final_score(*arguments)
    assert final_score(0.1, 0, 0.8, 0.6, 0.75) == 0


def test_unreadable_arrays_are_named() -> None:
    good = np.random.default_rng(0).normal(size=(6, 3))
    bad = good.copy()
    bad[4, 1] = np.nan
    for call, message in (
        (lambda: epsilons(bad, good), "unlearned is NaN in row 4, example 1"),
        (lambda: forgetting_quality(good, bad), "retrained is NaN in row 4, example 1"),
        (lambda: epsilons(good, good[:, :2]), r"unlearned \[6, 3\], retrained \[6, 2\]"),
        (lambda: epsilons(good[0], good), r"unlearned is \[3\]"),
        (lambda: epsilons(good, good[:, :0]), r"retrained is \[6, 0\]"),
        (lambda: forgetting_quality(good, good[:5]), r"retrained is \[5, 3\]; .* 6 models or more"),
    ):
        with pytest.raises(AttackError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_null_compares_the_halves_of_the_retrained_models() -> None:
    retrained = np.random.default_rng(5).normal(size=(41, 6))
    expected = float(example_scores(epsilons(retrained[20:40], retrained[:20]), 20).mean())
    assert forgetting_null(retrained) == expected
    assert forgetting_quality(retrained[:30] + 1, retrained).null == expected
    with pytest.raises(AttackError, match="6 models or more"):
        forgetting_null(retrained[:5])


def test_interval_holds_the_value_and_shrinks_with_examples() -> None:
    rng = np.random.default_rng(6)
    unlearned, retrained = rng.normal(size=(2, 24, 16))
    found = forgetting_interval(unlearned, retrained, samples=20)
    assert found.value == float(example_scores(epsilons(unlearned, retrained), 24).mean())
    assert 0 <= found.low < found.value < found.high <= 1
    assert forgetting_interval(unlearned, retrained, samples=20) == found
    one = forgetting_interval(unlearned[:, :1], retrained[:, :1], samples=20)
    assert one.se > 1.5 * found.se
    copies = forgetting_interval(unlearned[:, [0] * 4], retrained[:, [0] * 4], samples=20)
    assert copies == one  # the examples are fixed: four copies are no more evidence than one
    with pytest.raises(AttackError, match=r"unlearned is \[5, 16\]; .* 6 models or more"):
        forgetting_interval(unlearned[:5], retrained)


@pytest.mark.slow
def test_half_samples_know_the_spread_of_forgetting_quality() -> None:
    rng = np.random.default_rng(7)
    for shift in (0.0, 1.0):
        farms = [(rng.normal(shift, 1, (32, 10)), rng.normal(size=(32, 10))) for _ in range(60)]
        values = [float(example_scores(epsilons(*farm), 32).mean()) for farm in farms]
        found = [forgetting_interval(*farm, samples=25) for farm in farms[:20]]
        ratio = np.sqrt(np.mean([i.se**2 for i in found])) / np.std(values)
        covered = np.mean([i.low <= np.mean(values) <= i.high for i in found])
        print(f"shift {shift}: standard error over the true one {ratio:.2f}, coverage {covered:.2f}")
        assert 0.7 < ratio < 1.6
        assert covered >= 0.8
