from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import digamma, polygamma

from harness.attacks import blocks
from harness.attacks.errors import AttackError
from harness.attacks.joint import ulira_joint
from harness.attacks.lira import lira
from harness.attacks.student import VARIANCES
from harness.attacks.ulira import jackknife, stack_retrains, ulira

Draw = Callable[..., Any]


def moment_prior(s2: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    e = np.log(s2) - digamma(df / 2) + np.log(df / 2)
    v = e.var(ddof=1) - polygamma(1, df / 2).mean()
    if v <= 0:
        return np.inf, float((df * s2).sum() / df.sum())
    half = optimize.brentq(lambda h: float(polygamma(1, h)) - v, 1e-6, 1e7, xtol=1e-12)
    return 2 * half, float(np.exp(e.mean() + digamma(half) - np.log(half)))


def shrunk(s2: np.ndarray, df: np.ndarray, variance: str) -> tuple[np.ndarray, np.ndarray]:
    s2 = np.maximum(s2, 1e-5 * np.median(s2))
    if variance == "per_example":
        return s2, df
    if variance == "pooled":
        d0, s0 = np.inf, (df * s2).sum() / df.sum()
    else:
        d0, s0 = moment_prior(s2, df)
    if d0 == np.inf:
        return np.full(s2.shape, s0), np.full(s2.shape, np.inf)
    return (d0 * s0 + df * s2) / (d0 + df), d0 + df


def refit_for_every_row(
    phi: np.ndarray, u: np.ndarray, o: np.ndarray, cluster: np.ndarray, variance: str, fit_phi: np.ndarray
) -> np.ndarray:
    """Delete the row's cluster, fit again, and ask scipy for the densities."""
    llr = np.full(phi.shape, np.nan)
    for row in range(len(phi)):
        rest = cluster != cluster[row]
        worlds = [
            [c[keep & np.isfinite(c)] for c, keep in zip(fit_phi[rest].T, w[rest].T, strict=True)] for w in (u, o)
        ]
        s2 = [np.array([np.var(c, ddof=1) for c in w]) for w in worlds]
        df = [np.array([len(c) - 1.0 for c in w]) for w in worlds]
        if variance == "moderated_common":
            both = (df[0] * s2[0] + df[1] * s2[1]) / (df[0] + df[1])
            s2, df = [both, both], [df[0] + df[1]] * 2
        log_density = []
        for w, s, d in zip(worlds, s2, df, strict=True):
            posterior, nu = shrunk(s, d, variance)
            scale = np.sqrt(posterior * (1 + 1 / np.array([len(c) for c in w])))
            mean = np.array([c.mean() for c in w])
            log_density.append(
                np.where(
                    np.isinf(nu),
                    stats.norm.logpdf(phi[row], mean, scale),
                    stats.t.logpdf(phi[row], nu, mean, scale),
                )
            )
        llr[row] = np.where(np.isnan(phi[row]), 0.0, log_density[0] - log_density[1])
    return np.where(u | o, llr, np.nan)


def uneven_farm(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """24 releases in clusters of 1 to 3 with gaps, 9 examples, a third state (in neither world), and NaN."""
    phi = rng.normal(rng.normal(0, 4, 9), np.exp(rng.normal(0, 0.7, 9)), (24, 9))
    state = rng.integers(0, 5, (24, 9))
    phi[state < 2] += 1.5
    phi[rng.random((24, 9)) < 0.03] = np.nan
    cluster = rng.permutation(np.repeat([7, 3, 12, 4, 40, 1, 2, 5, 6, 8, 9, 10], [1, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]))
    return phi, state < 2, (state == 2) | (state == 3), cluster


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("other", [False, True])
def test_equals_refitting_without_the_cluster_for_every_row(variance: Any, seed: int, other: bool) -> None:
    rng = np.random.default_rng(seed)
    phi, u, o, cluster = uneven_farm(rng)
    fit_phi = phi + rng.normal(0, 2, phi.shape) if other else phi
    expected = refit_for_every_row(phi, u, o, cluster, variance, fit_phi)
    result = ulira(phi, u, o, cluster, variance, fit_phi=fit_phi if other else None)
    np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-9)
    assert np.isfinite(result[u | o]).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_jackknife_equals_attacking_the_remaining_releases(variance: Any) -> None:
    phi, u, o, cluster = uneven_farm(np.random.default_rng(5))
    refits = list(jackknife(phi, u, o, cluster, variance))
    assert len(refits) == len(np.unique(cluster))
    for deleted, refit in zip(np.unique(cluster), refits, strict=True):
        rest = cluster != deleted
        np.testing.assert_allclose(refit[rest], ulira(phi[rest], u[rest], o[rest], cluster[rest], variance), rtol=1e-7)
        assert np.isnan(refit[~rest]).all()


@pytest.mark.parametrize("variance", [v for v in VARIANCES if v != "moderated_common"])
@pytest.mark.parametrize("variant", ["offline_1s", "offline_2s"])
def test_offline_equals_lira_with_the_other_clusters_as_references_and_is_refitted(variant: Any, variance: Any) -> None:
    phi, u, o, cluster = uneven_farm(np.random.default_rng(3))
    references, expected = np.where(u | o, phi, np.nan), np.full(phi.shape, np.nan)
    for one in np.unique(cluster):
        own = cluster == one
        expected[own] = lira(phi[own], references[~own], u[~own], variant=variant, variance=variance)
    scores = ulira(phi, u, o, cluster, variance, variant=variant)
    np.testing.assert_allclose(scores, np.where(u | o, expected, np.nan), rtol=1e-7)
    rest = cluster != 12
    refit = list(jackknife(phi, u, o, cluster, variance, variant=variant))[sorted(set(cluster.tolist())).index(12)]
    alone = ulira(phi[rest], u[rest], o[rest], cluster[rest], variance, variant=variant)
    np.testing.assert_allclose(refit[rest], alone, rtol=1e-7)


@given(
    st.integers(0, 10_000),
    st.sampled_from(VARIANCES),
    st.floats(0.01, 100),
    st.floats(-50, 50),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_nothing_but_the_shape_of_phi_matters(seed: int, variance: Any, scale: float, shift: float, flip: bool) -> None:
    rng = np.random.default_rng(seed)
    phi, u, o, cluster = uneven_farm(rng)
    llr = ulira(phi, u, o, cluster, variance)
    affine = (-scale if flip else scale) * phi + shift
    np.testing.assert_allclose(ulira(affine, u, o, cluster, variance), llr, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ulira(phi, o, u, cluster, variance), -llr, rtol=1e-6, atol=1e-8)
    rows, columns = rng.permutation(24), rng.permutation(9)
    shuffled = ulira(phi[rows][:, columns], u[rows][:, columns], o[rows][:, columns], cluster[rows] * 3 + 1, variance)
    np.testing.assert_allclose(shuffled, llr[rows][:, columns], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("variance", VARIANCES)
def test_an_example_with_two_observations_in_a_world_is_blank_and_spoils_no_other(variance: Any, pairs: Draw) -> None:
    rng = np.random.default_rng(0)
    u, cluster = pairs(rng, 12, 5)
    phi, o = rng.normal(size=(12, 5)), ~u
    u[:, 2] = False
    u[[0, 3], 2] = True
    o[:, 2] = ~u[:, 2]
    llr = ulira(phi, u, o, cluster, variance)
    others = [0, 1, 3, 4]
    assert np.isnan(llr[:, 2]).all()
    np.testing.assert_allclose(llr[:, others], ulira(phi[:, others], u[:, others], o[:, others], cluster, variance))


def test_three_complementary_pairs_are_enough_and_two_are_not(pairs: Draw) -> None:
    rng = np.random.default_rng(0)
    u, cluster = pairs(rng, 6, 20)
    phi = rng.normal(size=(6, 20))
    assert np.isfinite(ulira(phi, u, ~u, cluster)).all()
    assert np.isnan(ulira(phi[:4], u[:4], ~u[:4], cluster[:4])).all()


def test_a_diverged_release_is_scored_zero_and_leaves_the_fit_to_the_others(pairs: Draw) -> None:
    rng = np.random.default_rng(1)
    u, cluster = pairs(rng, 16, 30)
    phi = rng.normal(size=(16, 30)) + u
    phi[5] = np.nan
    llr = ulira(phi, u, ~u, cluster)
    assert (llr[5] == 0).all()
    rest = np.arange(16) != 5
    np.testing.assert_allclose(llr[rest], ulira(phi[rest], u[rest], ~u[rest], cluster[rest]))


def test_infinite_phi_is_clipped(pairs: Draw) -> None:
    rng = np.random.default_rng(1)
    u, cluster = pairs(rng, 16, 8)
    phi = rng.normal(size=(16, 8))
    phi[2, 3], phi[7, 1] = np.inf, -np.inf
    np.testing.assert_array_equal(ulira(phi, u, ~u, cluster), ulira(np.clip(phi, -1e4, 1e4), u, ~u, cluster))


def test_constant_output_is_uninformative(pairs: Draw) -> None:
    u, cluster = pairs(np.random.default_rng(0), 16, 40)
    phi = np.full((16, 40), -2.302585092994046) + np.linspace(0, 1, 40)
    for variance in VARIANCES:
        np.testing.assert_allclose(ulira(phi, u, ~u, cluster, variance), 0.0, atol=1e-9)


def test_a_world_without_spread_is_told_from_one_with(pairs: Draw) -> None:
    rng = np.random.default_rng(0)
    u, cluster = pairs(rng, 16, 40)
    llr = ulira(np.where(u, 0.0, rng.normal(size=(16, 40))), u, ~u, cluster)
    assert np.isfinite(llr).all()
    assert llr[u].min() > 0 > np.median(llr[~u])


def test_retrains_are_stacked_below_the_releases() -> None:
    u = np.array([[True, False], [False, True]])
    phi, mask_u, mask_o, cluster = stack_retrains([[1, 2], [3, 4]], u, [0, 0], [[5, 6]], [0])
    np.testing.assert_array_equal(phi, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(mask_u, [[True, False], [False, True], [False, False]])
    np.testing.assert_array_equal(mask_o, [[False, False], [False, False], [True, True]])
    np.testing.assert_array_equal(cluster, [0, 0, 0])
    with pytest.raises(AttackError, match=r"\[R, E\]"):
        stack_retrains([[1, 2], [3, 4]], u, [0, 0], [[5, 6, 7]], [0])


@pytest.mark.parametrize(("cells", "kept"), [(40, 0), (130, 10**9), (10**9, 0)])
def test_the_size_of_the_blocks_moves_no_bit(cells: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    phi, u, o, cluster = (
        np.concatenate(arrays, axis=-1) for arrays in zip(*(uneven_farm(rng) for _ in range(4)), strict=True)
    )
    cluster = cluster[:24]
    u[:, 3] = False  # an example that cannot be scored must not shift the others
    before = np.where(np.isnan(phi), 0.0, phi) + rng.normal(size=phi.shape)

    def scores() -> list[np.ndarray]:
        each = [ulira(phi, u, o, cluster, variance) for variance in VARIANCES]
        return [*each, ulira_joint([before, phi], u, o, cluster), *islice(jackknife(phi, u, o, cluster), 3)]

    expected = scores()
    monkeypatch.setattr(blocks, "BLOCK_CELLS", cells)
    monkeypatch.setattr(blocks, "KEPT_CELLS", kept)
    for result, first in zip(scores(), expected, strict=True):
        np.testing.assert_array_equal(result, first)


def test_memory_above_the_arguments_and_the_result_does_not_grow(pairs: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "KEPT_CELLS", 0)
    monkeypatch.setattr(blocks, "BLOCK_CELLS", 2**10)
    rng, peaks = np.random.default_rng(0), []
    for examples in (500, 4000):
        u, cluster = pairs(rng, 16, examples)
        phi, o = rng.normal(size=u.shape).astype(np.float32), ~u
        ulira(phi, u, o, cluster)
        tracemalloc.start()
        scores = ulira(phi, u, o, cluster)
        peaks.append(tracemalloc.get_traced_memory()[1] - scores.nbytes)
        tracemalloc.stop()
    # eight times the examples: a matrix more of them would be 450 kB, their floors are 16 bytes each
    assert peaks[1] - peaks[0] < 300_000


def test_arrays_that_do_not_fit_are_refused() -> None:
    phi, u, cluster = np.zeros((4, 3)), np.ones((4, 3), dtype=bool), np.arange(4)
    for arguments, message in (
        ((phi, u, u, cluster), "U and O overlap in row 0, example 0: 12 cells are in both worlds"),
        ((phi, u[:3], ~u, cluster), r"they are \[N, E\]"),
        ((phi, u, ~u, cluster[:2]), r"they are \[N, E\]"),
        ((phi[0], u[0], ~u[0], cluster), r"they are \[N, E\]"),
        ((phi, u, ~u, cluster, "normal"), "unknown variance 'normal'"),
    ):
        with pytest.raises(AttackError, match=message):
            ulira(*arguments)
    with pytest.raises(AttackError, match="one shape"):
        ulira(phi, u, ~u, cluster, fit_phi=phi[:2])
