"""A farm on real images: ridge regression on random features of scikit-learn's digits, which can memorise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from harness.attacks.evaluate import Result, audit
from harness.attacks.signal import phi
from harness.attacks.student import VARIANCES
from harness.attacks.ulira import stack_retrains

SHADOWS, POOL, AUDITED, FEATURES = 32, 800, 120, 700
CANARIES, CLEAN = np.arange(60), np.arange(60, 120)


@dataclass(frozen=True)
class Farm:
    member: np.ndarray  # [N, E]
    cluster: np.ndarray
    original: np.ndarray  # phi [N, E]
    half_way: np.ndarray
    retrain: np.ndarray

    def attack(self, releases: np.ndarray, columns: np.ndarray, variance: Any = "moderated") -> Result:
        u = self.member[:, columns]
        return audit(releases[:, columns], u, ~u, self.cluster, variance=variance)[0]


def train(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ridge regression on one-hot labels: weights [features, classes]."""
    penalty = 1e-2 * np.eye(features.shape[1])
    weights: np.ndarray = np.linalg.solve(features.T @ features + penalty, features.T @ np.eye(10)[labels])
    return weights


@pytest.fixture(scope="module")
def farm(pairs: Callable[..., Any]) -> Farm:
    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    chosen = rng.permutation(len(images))[:POOL]
    x, y = images[chosen] / 16, labels[chosen]
    y[CANARIES] = rng.integers(0, 10, len(CANARIES))
    features = np.maximum(x @ rng.normal(size=(64, FEATURES)), 0) / np.sqrt(FEATURES)
    member, cluster = pairs(rng, SHADOWS, POOL)
    signals = []
    for row in member:
        kept = row.copy()
        kept[:AUDITED] = False
        original, retrain = train(features[row], y[row]), train(features[kept], y[kept])
        models = (original, (original + retrain) / 2, retrain)
        signals.append([phi(8 * features[:AUDITED] @ w, y[:AUDITED]) for w in models])
    return Farm(member[:, :AUDITED], cluster, *np.moveaxis(np.array(signals), 1, 0))


def test_the_original_leaks_its_canaries_and_clean_images_less(farm: Farm) -> None:
    canaries, clean = farm.attack(farm.original, CANARIES), farm.attack(farm.original, CLEAN)
    assert canaries.low > 0.95
    assert clean.value < canaries.value


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("columns", [CANARIES, CLEAN], ids=["canaries", "clean"])
def test_retraining_leaks_nothing(farm: Farm, columns: np.ndarray, variance: str) -> None:
    result = farm.attack(farm.retrain, columns, variance)
    assert result.low < 0.5 < result.high
    assert abs(result.value - 0.5) < 0.06


def test_leakage_falls_from_the_original_to_the_retrained_model(farm: Farm) -> None:
    values = [farm.attack(m, CLEAN).value for m in (farm.original, farm.half_way, farm.retrain)]
    assert values[0] > values[1] > values[2]


def test_against_retrains_the_original_is_told_apart_and_the_retrain_is_not(farm: Farm) -> None:
    def against_retrains(releases: np.ndarray) -> Result:
        return audit(*stack_retrains(releases, farm.member, farm.cluster, farm.retrain, farm.cluster))[0]

    assert against_retrains(farm.original).low > 0.8
    assert against_retrains(farm.retrain).value == pytest.approx(0.5, abs=0.02)
