from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.attacks.errors import AttackError
from harness.attacks.evaluate import evaluate
from harness.attacks.rmia import rmia
from harness.attacks.rmia_farm import jackknife_rmia, rmia_farm

Farm = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Draw = Callable[..., Any]


def uneven_farm(seed: int) -> Farm:
    """phi, U, O, cluster, population of 15 releases in clusters of 1 to 3: a third state, NaN, and p that underflow."""
    rng = np.random.default_rng(seed)
    easy = np.append(rng.normal(0, 3, 8), -900.0)
    state = rng.integers(0, 5, (15, 9))
    phi = easy + rng.normal(size=(15, 9)) + 1.5 * (state < 2)
    phi[rng.random(phi.shape) < 0.03] = np.nan
    population = rng.normal(0, 3, 40) + rng.normal(size=(15, 40))
    population[rng.random(population.shape) < 0.03] = np.nan
    cluster = rng.permutation(np.repeat([7, 3, 12, 4, 40, 1, 2], [1, 3, 2, 2, 2, 3, 2]))
    return phi, state < 2, (state == 2) | (state == 3), cluster, population


@pytest.mark.parametrize("gamma", [1.0, 1.7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_rmia_with_the_other_clusters_as_references(seed: int, gamma: float) -> None:
    phi, u, o, cluster, population = uneven_farm(seed)
    references, expected = np.where(u | o, phi, np.nan), np.full(phi.shape, np.nan)
    for one in np.unique(cluster):
        own = cluster == one
        expected[own] = rmia(phi[own], population[own], references[~own], u[~own], population[~own], gamma=gamma)
    scores = rmia_farm(phi, u, o, cluster, population, gamma=gamma)
    np.testing.assert_allclose(scores, np.where(u | o, expected, np.nan), atol=1e-12)
    assert np.nanstd(scores) > 0.1


def test_jackknife_equals_attacking_the_remaining_releases() -> None:
    phi, u, o, cluster, population = uneven_farm(4)
    refits = list(jackknife_rmia(phi, u, o, cluster, population))
    assert len(refits) == len(np.unique(cluster))
    for deleted, refit in zip(np.unique(cluster), refits, strict=True):
        rest = cluster != deleted
        alone = rmia_farm(phi[rest], u[rest], o[rest], cluster[rest], population[rest])
        np.testing.assert_allclose(refit[rest], alone, atol=1e-12)
        assert np.isnan(refit[~rest]).all()


def test_finds_a_leak_and_none_where_there_is_none(pairs: Draw) -> None:
    rng = np.random.default_rng(0)
    u, cluster = pairs(rng, 16, 60)
    noise, easy = rng.normal(size=(16, 160)), rng.normal(0, 2, 160)
    aucs = []
    for shift in (0.0, 2.0):
        phi, population = (easy + noise)[:, :60] + shift * u, (easy + noise)[:, 60:]
        refits = jackknife_rmia(phi, u, ~u, cluster, population)
        result, *_ = evaluate(rmia_farm(phi, u, ~u, cluster, population), u, ~u, cluster, fprs=(), refits=refits)
        assert result.flags == ()
        aucs.append((result.low, result.high))
    assert aucs[0][0] < 0.5 < aucs[0][1]
    assert aucs[1][0] > 0.8


def test_an_example_without_references_in_a_world_is_blank() -> None:
    phi, u, o, cluster, population = uneven_farm(0)
    u[:, 4], o[:, 4] = cluster == 3, cluster != 3  # without cluster 3 nobody was trained on it
    scores = rmia_farm(phi, u, o, cluster, population)
    assert np.isnan(scores[cluster == 3, 4]).all()
    assert np.isfinite(scores[cluster != 3, 4]).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    phi, u, o, cluster, population = uneven_farm(0)
    for bad in (population[:-1], population[:, :0], population[0]):
        with pytest.raises(AttackError, match="population_phi is"):
            rmia_farm(phi, u, o, cluster, bad)
    with pytest.raises(AttackError, match="both worlds"):
        rmia_farm(phi, u, u, cluster, population)
    with pytest.raises(AttackError, match="gamma is 0"):
        rmia_farm(phi, u, o, cluster, population, gamma=0)
