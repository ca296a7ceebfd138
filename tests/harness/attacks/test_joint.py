from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError
from harness.attacks.joint import combine, jackknife_joint, ulira_joint, ulira_queries
from harness.attacks.ulira import ulira

Draw = Callable[..., Any]
SHRINKAGES = ("per_example", "pooled", "moderated")


def toy(rng: np.random.Generator, draw: Draw, shadows: int = 16, examples: int = 20, dimension: int = 2) -> Any:
    """Correlated observations, the covariance different for each example, a few cells NaN and in neither world."""
    u, cluster = draw(rng, shadows, examples)
    mixing = rng.normal(size=(examples, dimension, dimension)) + 2 * np.eye(dimension)
    phi = np.einsum("eij,jne->ine", mixing, rng.normal(size=(dimension, shadows, examples)) + 0.7 * u)
    phi[0, 3, 4] = phi[1, 5, 6] = np.nan
    o = ~u
    u[:2, 7] = o[:2, 7] = False
    return phi, u, o, cluster


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_one_observation_is_the_univariate_attack(shrinkage: Any, pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(0), pairs)
    expected = ulira(phi[0], u, o, cluster, shrinkage)
    np.testing.assert_allclose(ulira_joint(phi[:1], u, o, cluster, shrinkage), expected, rtol=1e-9, atol=1e-9)
    # a copy of an observation is not another one: before and after a method that does nothing
    twice = [phi[0], phi[0]]
    np.testing.assert_allclose(ulira_joint(twice, u, o, cluster, shrinkage), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_equals_the_density_of_scipy_refitted_for_every_cell(shrinkage: Any, dimension: int, pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(1), pairs, examples=8, dimension=dimension)
    checked = np.arange(0, 16, 3)
    known = ~np.isnan(phi).any(axis=0)
    shape, examples = phi.shape[1:], range(8)
    expected = np.full(shape, np.nan)
    for row in checked:
        density = []
        for world in (u, o):
            keep = [(cluster != cluster[row]) & world[:, e] & known[:, e] for e in examples]
            samples = [phi[:, k, e] for e, k in enumerate(keep)]
            df = np.array([s.shape[1] - 1 for s in samples])
            scatter = [np.atleast_2d(np.cov(s)) * d for s, d in zip(samples, df, strict=True)]
            pooled = sum(scatter) / df.sum()
            d0, prior = {"per_example": (0.0, pooled), "pooled": (1e8, pooled), "moderated": (None, None)}[shrinkage]
            if d0 is None:
                d0, prior = moderated(scatter, df, pooled, metric(phi, world & known, u | o))
            density.append(
                [
                    stats.multivariate_t.logpdf(
                        phi[:, row, e],
                        samples[e].mean(axis=1),
                        (d0 * prior + scatter[e]) / (d0 + d - dimension + 1) * (1 + 1 / (d + 1)),
                        d0 + d - dimension + 1,
                    )
                    if known[row, e]
                    else 0.0
                    for e, d in enumerate(df)
                ]
            )
        expected[row] = np.subtract(*density)
    expected[~(u | o)] = np.nan
    result = ulira_joint(phi, u, o, cluster, shrinkage)
    np.testing.assert_allclose(result[checked], expected[checked], rtol=1e-5, atol=1e-5)


def metric(phi: np.ndarray, world: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The inverse of the covariance pooled over the examples, all rows of a world."""
    samples = [phi[:, world[:, e], e] for e in range(phi.shape[2])]
    return np.asarray(np.linalg.inv(sum(np.cov(s) * (s.shape[1] - 1) for s in samples) / (world.sum() - len(samples))))


def moderated(scatter: list[Any], df: np.ndarray, pooled: np.ndarray, inverse: np.ndarray) -> tuple[float, np.ndarray]:
    from harness.attacks.student import fit_prior

    dimension = len(pooled)
    sizes = np.array([np.trace(inverse @ s) for s in scatter]) / (dimension * df)
    prior = fit_prior(sizes[None], dimension * df[None])
    size = float(prior.variance[0]) / (np.trace(inverse @ pooled) / dimension)
    return min(float(prior.df[0]), 1e8) / dimension, pooled * size


def test_affine_maps_of_the_observations_change_nothing(pairs: Draw) -> None:
    rng = np.random.default_rng(2)
    phi, u, o, cluster = toy(rng, pairs)
    shift = rng.normal(size=(2, 1, 20))
    same, each = np.array([[2.0, 1.0], [-0.5, 0.1]]), np.eye(2) + 0.4 * rng.uniform(-1, 1, (20, 2, 2))
    for shrinkage in ("moderated", "pooled"):
        moved = np.einsum("ij,jne->ine", same, phi) + shift
        original = ulira_joint(phi, u, o, cluster, shrinkage)
        np.testing.assert_allclose(ulira_joint(moved, u, o, cluster, shrinkage), original, rtol=1e-7, atol=1e-8)
    # without shrinkage the examples do not know of each other, and may each have a map of its own
    moved = np.einsum("eij,jne->ine", each, phi) + shift
    original = ulira_joint(phi, u, o, cluster, "per_example")
    np.testing.assert_allclose(ulira_joint(moved, u, o, cluster, "per_example"), original, rtol=1e-7, atol=1e-8)


def test_jackknife_equals_attacking_the_remaining_releases(pairs: Draw) -> None:
    phi, u, o, cluster = toy(np.random.default_rng(3), pairs)
    for deleted, refit in enumerate(jackknife_joint(phi, u, o, cluster)):
        rest = cluster != deleted
        expected = ulira_joint(phi[:, rest], u[rest], o[rest], cluster[rest])
        np.testing.assert_allclose(refit[rest], expected, rtol=1e-7, atol=1e-8)
        assert np.isnan(refit[~rest]).all()


def test_no_leakage_is_a_half(pairs: Draw) -> None:
    rng = np.random.default_rng(4)
    values = []
    for _ in range(64):
        u, cluster = pairs(rng, 16, 40)
        phi = rng.normal(size=(2, 16, 40))
        phi[1] += phi[0]
        scores = ulira_joint(phi, u, ~u, cluster)
        values.append(auc(scores[u], scores[~u]))
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / 8 < 0.02


def test_two_correlated_observations_reach_the_optimum_that_neither_reaches_alone(pairs: Draw) -> None:
    rng = np.random.default_rng(5)
    u, cluster = pairs(rng, 128, 60)
    covariance, effect = np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([0.6, -0.1])
    phi = np.moveaxis(rng.multivariate_normal([0, 0], covariance, u.shape), 2, 0) + effect[:, None, None] * u
    optimum = float(ndtr(np.sqrt(effect @ np.linalg.solve(covariance, effect) / 2)))
    joint, first, second = (
        auc(scores[u], scores[~u])
        for scores in (ulira_joint(phi, u, ~u, cluster), *(ulira(p, u, ~u, cluster) for p in phi))
    )
    assert joint == pytest.approx(optimum, abs=0.02)
    assert max(first, second) < joint - 0.08


def test_worlds_that_differ_in_a_direction_without_spread_are_told_apart(pairs: Draw) -> None:
    rng = np.random.default_rng(6)
    u, cluster = pairs(rng, 16, 20)
    before = rng.normal(size=(16, 20))
    scores = ulira_joint([before, before - 0.01 * u], u, ~u, cluster)
    assert scores[u].min() > 0 > scores[~u].max()


def test_three_observations_are_needed_for_two_dimensions(pairs: Draw) -> None:
    rng = np.random.default_rng(7)
    u, cluster = pairs(rng, 8, 6)
    phi = rng.normal(size=(2, 8, 6))
    assert np.isfinite(ulira_joint(phi, u, ~u, cluster)).all()
    assert np.isnan(ulira_joint(phi[:, :6], u[:6], ~u[:6], cluster[:6])).all()
    assert ulira_joint(phi[:, :0], u[:0], ~u[:0], cluster[:0]).shape == (0, 6)


def test_constant_output_is_uninformative(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(0), 16, 10)
    phi = np.array([np.full((16, 10), -2.3), np.full((16, 10), 1.7)])
    np.testing.assert_allclose(ulira_joint(phi, u, ~u, cluster), 0.0, atol=1e-9)


def test_queries_are_combined_as_asked(pairs: Draw) -> None:
    rng = np.random.default_rng(8)
    u, cluster = pairs(rng, 16, 20)
    phi = rng.normal(size=(3, 16, 20)) + u
    phi[1, 0, 0] = np.inf
    worlds = (u, ~u, cluster)
    np.testing.assert_allclose(combine(phi), np.clip(phi, -1e4, 1e4).mean(axis=0))
    np.testing.assert_array_equal(ulira_queries(phi, *worlds), ulira(combine(phi), *worlds))
    np.testing.assert_array_equal(ulira_queries(phi, *worlds, how="joint"), ulira_joint(phi, *worlds))
    each = [ulira(p, *worlds) for p in phi]
    np.testing.assert_allclose(ulira_queries(phi, *worlds, how="mean_llr"), np.mean(each, axis=0), rtol=1e-12)


def test_arrays_and_names_that_do_not_fit_are_refused(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(9), 8, 5)
    phi = np.zeros((2, 8, 5))
    for arguments, message in (
        (([phi[0], phi[1, :4]], u, ~u, cluster), r"phi\[1\] is \[4, 5\], phi\[0\] \[8, 5\]"),
        (([], u, ~u, cluster), "phi holds no matrix"),
        ((phi[0], u, ~u, cluster), r"phi\[0\] is \[5\]"),
        ((phi, u, ~u, cluster[:3]), r"cluster is \[3\]"),
        ((phi, u, ~u, cluster, "moderate"), "did you mean 'moderated'"),
    ):
        with pytest.raises(AttackError, match=message):
            ulira_joint(*arguments)
    with pytest.raises(AttackError, match="did you mean 'mean_llr'"):
        ulira_queries(phi, u, ~u, cluster, how="mean_lr")  # type: ignore[arg-type]
