from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import polygamma

from harness.attacks.errors import AttackError
from harness.attacks.student import (
    VARIANCES,
    Prior,
    VarianceMoments,
    check_variance,
    fit_prior,
    predictive,
    shrink,
    trigamma_inverse,
)


@given(st.floats(-5, 5))
def test_trigamma_inverse_inverts(exponent: float) -> None:
    x = 10.0**exponent
    np.testing.assert_allclose(polygamma(1, trigamma_inverse([x])), x, rtol=1e-9)


@pytest.mark.parametrize(("d0", "s0", "df"), [(4.0, 2.0, 15), (10.0, 0.3, 7), (3.0, 50.0, 63)])
def test_prior_is_recovered_from_a_sample(d0: float, s0: float, df: int) -> None:
    rng = np.random.default_rng(0)
    true = s0 * d0 / rng.chisquare(d0, 20_000)
    sample = true * rng.chisquare(df, 20_000) / df
    prior = fit_prior(sample[None], np.full((1, 20_000), df))
    np.testing.assert_allclose([prior.df[0], prior.variance[0]], [d0, s0], rtol=0.1)


def test_equal_variances_give_an_infinite_prior_and_the_pooled_variance() -> None:
    variances, df = np.full((1, 500), 3.0), np.tile([5, 9], 250)[None]
    prior = fit_prior(variances, df)
    assert prior.df[0] == np.inf
    assert prior.variance[0] == pytest.approx(3.0)
    posterior, _ = shrink(variances * np.linspace(0.99, 1.01, 500), df, "moderated", 0.0)
    pooled, _ = shrink(variances * np.linspace(0.99, 1.01, 500), df, "pooled", 0.0)
    np.testing.assert_allclose(posterior, pooled)


@pytest.mark.parametrize("edges", [[0, 300], [0, 1, 2, 300], [0, 0, 128, 299, 300]])
def test_a_prior_fitted_block_by_block_is_the_same_to_the_last_bit(edges: list[int]) -> None:
    rng = np.random.default_rng(3)
    df = rng.integers(3, 9, (2, 300))
    variances = rng.chisquare(df) / df * np.exp(rng.normal(size=300))
    moments = VarianceMoments(2)
    for first, last in pairwise(edges):
        moments.add(variances[:, first:last], df[:, first:last])
    whole = fit_prior(variances, df)
    np.testing.assert_array_equal([moments.prior().df, moments.prior().variance], [whole.df, whole.variance])
    np.testing.assert_allclose(moments.pooled().variance, (df * variances).sum(axis=1) / df.sum(axis=1))


def test_one_example_keeps_its_own_variance() -> None:
    posterior, prior = shrink(np.array([[2.0]]), np.array([[6]]), "moderated", 0.0)
    assert prior.df[0] == 0
    assert posterior[0, 0] == 2.0


def test_moderated_lies_between_its_own_and_the_prior_variance() -> None:
    rng = np.random.default_rng(1)
    variances = rng.chisquare(5, (2, 300)) / 5 * np.exp(rng.normal(size=300))
    posterior, prior = shrink(variances, np.full((2, 300), 5), "moderated", 0.0)
    centre = prior.variance[:, None]
    assert np.all((posterior - variances) * (centre - posterior) >= 0)
    own, _ = shrink(variances, np.full((2, 300), 5), "per_example", 0.0)
    np.testing.assert_array_equal(own, variances)


def test_an_example_without_spread_is_floored_at_a_share_of_the_median() -> None:
    variances = np.array([[0.0, 1.0, 2.0, 3.0]])
    posterior, _ = shrink(variances, np.full((1, 4), 3), "per_example", 0.0)
    np.testing.assert_allclose(posterior, [[1.5e-5, 1.0, 2.0, 3.0]])


@pytest.mark.parametrize("d0", [0.0, 2.5, 400.0, np.inf])
def test_predictive_is_the_students_t_of_scipy(d0: float) -> None:
    rng = np.random.default_rng(2)
    x, df = rng.normal(size=(3, 4)) * 5, np.array([[3, 3, 4, 9]])
    mean, count, posterior = (
        rng.normal(size=(1, 4)),
        np.array([[4.0, 4.0, 5.0, 10.0]]),
        rng.random((1, 4)) + 0.1,
    )
    fit = predictive(mean, count, posterior, df, Prior(np.array([d0]), np.array([1.0])))
    scale = np.sqrt(posterior * (1 + 1 / count))
    expected = stats.norm.logpdf(x, mean, scale) if d0 == np.inf else stats.t.logpdf(x, d0 + df, mean, scale)
    np.testing.assert_allclose(fit.log_density(x, np.zeros(3, dtype=np.int64)), expected, rtol=1e-10)


def test_finite_and_infinite_priors_stand_side_by_side() -> None:
    x, prior = np.array([[1.5], [1.5]]), Prior(np.array([np.inf, 2.0]), np.array([1.0, 1.0]))
    fit = predictive(np.zeros((2, 1)), np.full((2, 1), np.inf), np.ones((2, 1)), np.full((2, 1), 3), prior)
    np.testing.assert_allclose(
        fit.log_density(x, np.array([0, 1]))[:, 0], [stats.norm.logpdf(1.5), stats.t.logpdf(1.5, 5)]
    )


def test_an_unknown_mode_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(AttackError, match="did you mean 'moderated'"):
        check_variance("moderate")
    assert [check_variance(v) for v in VARIANCES] == [None] * 4
