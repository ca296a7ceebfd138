"""Mean estimation, where every quantity that the attack estimates has a formula.

A(D) = (1/m) sum of the members + tau noise, phi(x) = <theta, x>, and an unlearner that takes the share
1 - rho of the forget set out: rho = 1 is the identity, 0 exact unlearning, below 0 over-forgetting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from closed_form import effects, expected_auc

from harness.attacks.evaluate import Result, audit
from harness.attacks.ulira import stack_retrains

Draw = Callable[..., Any]
POOL, SHADOWS, AUDITED, DIMENSION, TAU = 400, 128, 80, 100, 0.03


@dataclass(frozen=True)
class Farm:
    members: np.ndarray  # [N, n]
    cluster: np.ndarray
    gram: np.ndarray  # [n, E]
    noise: np.ndarray  # [N, E]
    other_noise: np.ndarray

    def releases(self, rho: float) -> np.ndarray:
        weight = np.where(np.arange(POOL) < AUDITED, rho, 1.0)
        return (self.members * weight) @ self.gram / (POOL / 2) + self.noise

    def retrains(self) -> np.ndarray:
        return self.releases(0.0) - self.noise + self.other_noise

    def expected(self, rho: float) -> float:
        return expected_auc(effects(self.gram, np.arange(AUDITED), rho, TAU), SHADOWS)

    def attack(self, rho: float) -> Result:
        u = self.members[:, :AUDITED]
        return audit(self.releases(rho), u, ~u, self.cluster)[0]


@pytest.fixture(scope="module")
def farm(pairs: Draw) -> Farm:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(POOL, DIMENSION))
    members, cluster = pairs(rng, SHADOWS, POOL)
    noise = TAU * rng.normal(size=(2, SHADOWS, DIMENSION)) @ x[:AUDITED].T
    return Farm(members, cluster, x @ x[:AUDITED].T, noise[0], noise[1])


@pytest.mark.parametrize("rho", [1.0, 0.5, 0.0, -0.5])
def test_auc_is_the_predicted_one(farm: Farm, rho: float) -> None:
    result, expected = farm.attack(rho), farm.expected(rho)
    assert abs(result.value - expected) < 4 * result.se
    assert result.se < 0.025
    assert result.low < expected < result.high


def test_the_direction_of_the_residual_does_not_matter(farm: Farm) -> None:
    under, over = farm.attack(0.5), farm.attack(-0.5)
    assert under.value > 0.55
    assert abs(under.value - over.value) < 2 * max(under.se, over.se)


def test_against_exact_retrains_only_exact_unlearning_passes(farm: Farm) -> None:
    u = farm.members[:, :AUDITED]
    results = {
        rho: audit(*stack_retrains(farm.releases(rho), u, farm.cluster, farm.retrains(), farm.cluster))[0]
        for rho in (0.0, 0.5, 1.0)
    }
    assert abs(results[0.0].value - 0.5) < 4 * results[0.0].se
    assert results[0.0].low < 0.5 < results[0.0].high
    assert 0.55 < results[0.5].value < results[1.0].value
