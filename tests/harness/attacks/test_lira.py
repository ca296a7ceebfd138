from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import digamma, polygamma

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError
from harness.attacks.lira import lira, lira_reference
from harness.attacks.student import LIRA_VARIANTS, VARIANCES


def shadows(seed: int = 0, n: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """3 targets and 14 shadows of n examples that differ in mean and spread; every world has 3 rows or more."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(0, 4, n), np.exp(rng.normal(0, 0.7, n))
    inside = rng.random((14, n)) < 0.5
    inside[:3], inside[3:6] = True, False
    return rng.normal(mean, spread, (3, n)), rng.normal(mean, spread, (14, n)) + 1.5 * inside, inside


def shrunk(s2: np.ndarray, df: np.ndarray, variance: str) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom of the mode; the prior by moments, solved with a bracketing root finder."""
    if variance == "per_example":
        return s2, df
    e = np.log(s2) - digamma(df / 2) + np.log(df / 2)
    excess = e.var(ddof=1) - polygamma(1, df / 2).mean()
    if variance == "pooled" or excess <= 0:
        return np.full(s2.shape, (df * s2).sum() / df.sum()), np.full(s2.shape, np.inf)
    half = optimize.brentq(lambda h: float(polygamma(1, h)) - excess, 1e-6, 1e7, xtol=1e-12)
    s0 = np.exp(e.mean() + digamma(half) - np.log(half))
    return (2 * half * s0 + df * s2) / (2 * half + df), 2 * half + df


def by_scipy(target: np.ndarray, columns: list[np.ndarray], variance: str) -> tuple[np.ndarray, np.ndarray]:
    """Log density of the targets and their z under the predictive distribution of one world."""
    s2, df = shrunk(np.array([c.var(ddof=1) for c in columns]), np.array([len(c) - 1.0 for c in columns]), variance)
    mean, count = np.array([c.mean() for c in columns]), np.array([len(c) for c in columns])
    scale = np.sqrt(s2 * (1 + 1 / count))
    density = np.where(np.isinf(df), stats.norm.logpdf(target, mean, scale), stats.t.logpdf(target, df, mean, scale))
    return density, (target - mean) / scale


@pytest.mark.parametrize("variance", ["per_example", "pooled", "moderated"])
def test_equals_the_densities_of_scipy(variance: Any) -> None:
    target, phi, inside = shadows()
    phi[1, 4] = phi[9, 2] = np.nan
    known = ~np.isnan(phi)
    columns = [[c[k] for c, k in zip(phi.T, (w & known).T, strict=True)] for w in (inside, ~inside)]
    (log_in, _), (log_out, z) = (by_scipy(target, c, variance) for c in columns)
    np.testing.assert_allclose(lira(target, phi, inside, variance=variance), log_in - log_out, rtol=1e-7)
    one = lira(target, phi, inside, variant="offline_1s", variance=variance)
    np.testing.assert_allclose(one, z, rtol=1e-7)
    two = lira(target, phi, inside, variant="offline_2s", variance=variance)
    np.testing.assert_allclose(two, z**2, rtol=1e-7)


def test_moderated_common_gives_both_worlds_one_width() -> None:
    rng = np.random.default_rng(0)
    inside = np.repeat([True, False], 6)[:, None] & np.ones(50, dtype=bool)
    phi = rng.normal(size=(12, 50)) * np.where(inside, 3.0, 1.0)
    means = phi[:6].mean(axis=0), phi[6:].mean(axis=0)
    middle = (means[0] + means[1]) / 2
    np.testing.assert_allclose(lira(middle, phi, inside, variance="moderated_common"), 0.0, atol=1e-9)
    assert np.abs(lira(middle, phi, inside, variance="moderated")).min() > 1e-3


@pytest.mark.parametrize(
    ("variant", "variance"),
    [pair for pair in product(LIRA_VARIANTS, VARIANCES) if pair[0] == "online" or pair[1] != "moderated_common"],
)
def test_nothing_but_the_shape_of_phi_matters(variant: Any, variance: Any) -> None:
    rng = np.random.default_rng(4)
    target, phi, inside = shadows(5)
    scores = lira(target, phi, inside, variant=variant, variance=variance)
    rows, columns = rng.permutation(14), rng.permutation(7)
    moved = lira(
        3 * target[:, columns] - 7,
        3 * phi[rows][:, columns] - 7,
        inside[rows][:, columns],
        variant=variant,
        variance=variance,
    )
    np.testing.assert_allclose(moved, scores[:, columns], rtol=1e-8, atol=1e-10)
    single = [lira(t, phi, inside, variant=variant, variance=variance) for t in target]
    np.testing.assert_allclose(single, scores, rtol=1e-9)


def test_exchanging_the_worlds_negates_the_ratio_and_offline_never_reads_inside() -> None:
    target, phi, inside = shadows(6)
    np.testing.assert_allclose(lira(target, phi, ~inside), -lira(target, phi, inside), rtol=1e-9)
    wild = np.where(inside, 1e3, phi)
    for variant in ("offline_1s", "offline_2s"):
        expected = lira(target, phi, inside, variant=variant)  # type: ignore[arg-type]
        np.testing.assert_allclose(lira(target, wild, inside, variant=variant), expected)  # type: ignore[arg-type]


def test_members_score_higher_and_over_forgotten_ones_only_in_the_two_sided_score() -> None:
    rng = np.random.default_rng(7)
    inside = rng.random((32, 500)) < 0.5
    phi = rng.normal(size=(32, 500)) + 2 * inside
    member = rng.random(500) < 0.5
    for shift, above in ((2, {"online", "offline_1s", "offline_2s"}), (-2, {"offline_2s"})):
        target = rng.normal(size=500) + shift * member
        for variant in LIRA_VARIANTS:
            scores = lira(target, phi, inside, variant=variant)  # type: ignore[arg-type]
            value = auc(scores[member], scores[~member])
            assert value > 0.7 if variant in above else value < 0.3


def test_a_target_of_nan_scores_like_one_that_tells_nothing_and_infinity_is_clipped() -> None:
    target, phi, inside = shadows()
    other = target.copy()
    other[1, 3], other[2, 0] = np.nan, -np.inf
    for variant, neutral in (("online", 0.0), ("offline_1s", 0.0), ("offline_2s", 1.0)):
        scores = lira(other, phi, inside, variant=variant, variance="per_example")  # type: ignore[arg-type]
        assert scores[1, 3] == neutral
        other_clipped = np.where(np.isneginf(other), -1e4, other)
        expected = lira(other_clipped, phi, inside, variant=variant, variance="per_example")  # type: ignore[arg-type]
        np.testing.assert_array_equal(scores, expected)


def test_too_few_shadows_blank_the_example_and_spoil_no_other() -> None:
    target, phi, inside = shadows()
    sparse = inside.copy()
    sparse[:, 2] = False
    sparse[0, 2] = True
    others = [0, 1, 3, 4, 5, 6]
    scores = lira(target, phi, sparse)
    assert np.isnan(scores[:, 2]).all()
    np.testing.assert_allclose(scores[:, others], lira(target[:, others], phi[:, others], inside[:, others]))
    assert np.isfinite(lira(target, phi, sparse, variant="offline_1s")).all()
    assert np.isnan(lira(target, phi, np.ones_like(inside))).all()


def test_constant_output_is_uninformative() -> None:
    inside = np.repeat([True, False], 7)[:, None] & np.ones(7, dtype=bool)
    constant = np.full((14, 7), -2.302585092994046) + np.linspace(0, 1, 7)
    for variance in VARIANCES:
        np.testing.assert_allclose(lira(constant[:2], constant, inside, variance=variance), 0.0, atol=1e-9)
    assert (lira(constant[0], constant, inside, variant="offline_2s") == 0).all()


@pytest.mark.parametrize("fix_variance", [False, True])
def test_reference_equals_the_published_recipe_cell_by_cell(fix_variance: bool) -> None:
    target, phi, inside = shadows(8)
    k_in, k_out = min(inside.sum(axis=0)), min((~inside).sum(axis=0))
    assert len(set(inside.sum(axis=0))) > 1  # truncation matters
    kept_in = [[v for v, m in zip(phi[:, j], inside[:, j], strict=True) if m][:k_in] for j in range(7)]
    kept_out = [[v for v, m in zip(phi[:, j], inside[:, j], strict=True) if not m][:k_out] for j in range(7)]
    online, offline = np.empty((3, 7)), np.empty((3, 7))
    for t in range(3):
        for j in range(7):
            sd_in = np.std(kept_in) if fix_variance else np.std(kept_in[j])
            shared = np.std(kept_in) if fix_variance else np.std(kept_out[j])
            alone = np.std(kept_out) if fix_variance else np.std(kept_out[j])
            log_in = stats.norm.logpdf(target[t, j], np.median(kept_in[j]), sd_in + 1e-30)
            online[t, j] = log_in - stats.norm.logpdf(target[t, j], np.median(kept_out[j]), shared + 1e-30)
            offline[t, j] = -stats.norm.logpdf(target[t, j], np.median(kept_out[j]), alone + 1e-30)
    ratio = lira_reference(target, phi, inside, fix_variance=fix_variance)
    np.testing.assert_allclose(ratio, online, rtol=1e-12, atol=1e-12)
    surprise = lira_reference(target, phi, inside, variant="offline", fix_variance=fix_variance)
    np.testing.assert_allclose(surprise, offline, rtol=1e-12)
    np.testing.assert_array_equal(lira_reference(target[0], phi, inside, fix_variance=fix_variance), ratio[0])


def test_fixed_variance_of_the_reference_holds_the_spread_between_examples() -> None:
    rng = np.random.default_rng(0)
    inside = np.repeat([True, False], 100)[:, None] & np.ones(400, dtype=bool)
    phi = rng.normal(0, 3, 400) + rng.normal(size=(200, 400)) + inside
    target = np.median(phi[100:], axis=0)
    gap = np.median(phi[:100], axis=0) - target
    ratio = lira_reference(target, phi, inside, fix_variance=True)
    # at the OUT median the ratio is -gap^2 / (2 s^2) with s^2 = 1 + 9 instead of 1
    np.testing.assert_allclose(-(gap**2) / (2 * ratio), 10.0, rtol=0.15)


def test_arrays_and_names_that_do_not_fit_are_refused() -> None:
    target, phi, inside = shadows()
    for arrays in ((target[:, :4], phi, inside), (target, phi, inside[:5]), (target, phi[0], inside[0])):
        for attack in (lira, lira_reference):
            with pytest.raises(AttackError, match=r"they are \[n\] or \[T, n\], \[N, n\] and \[N, n\]"):
                attack(*arrays)  # type: ignore[operator]
    with pytest.raises(AttackError, match="unknown variant 'ofline_1s'"):
        lira(target, phi, inside, variant="ofline_1s")  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="unknown variance 'fixed'"):
        lira(target, phi, inside, variance="fixed")  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="offline_1s reads OUT alone"):
        lira(target, phi, inside, variant="offline_1s", variance="moderated_common")


def test_the_reference_names_the_row_it_cannot_work_with() -> None:
    target, phi, inside = shadows()
    bad = phi.copy()
    bad[5, 3] = np.nan
    with pytest.raises(AttackError, match="phi row 5 is NaN at example 3"):
        lira_reference(target, bad, inside)
    with pytest.raises(AttackError, match="target row 0 is NaN at example 6"):
        lira_reference(np.append(target[0, :6], np.nan), phi, inside)
    inside[:, 4] = False
    with pytest.raises(AttackError, match="example 4 has no IN row in phi"):
        lira_reference(target, phi, inside)
    with pytest.raises(AttackError, match="unknown variant"):
        lira_reference(target, phi, inside, variant="offline_1s")  # type: ignore[arg-type]
