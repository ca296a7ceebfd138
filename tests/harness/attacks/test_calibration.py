"""The statistical tests are tested: over 200 toy farms intervals cover, and exact retraining is rarely accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.attacks.evaluate import Result, audit

Draw = Callable[..., Any]
pytestmark = pytest.mark.slow
FARMS, EXAMPLES = 200, 30


def results(rng: np.random.Generator, draw: Draw, shadows: int, effect: float, level: Any = "L2") -> list[Result]:
    """The AUC of so many farms of the same examples: effects and spreads that differ, releases that drift."""
    effects, spread = 2 * effect * rng.random(EXAMPLES), np.exp(0.4 * rng.normal(size=EXAMPLES))
    found = []
    for _ in range(FARMS):
        u, cluster = draw(rng, shadows, EXAMPLES)
        drift, noise = 0.3 * rng.normal(size=(2, shadows, 1)), rng.normal(size=(2, shadows, EXAMPLES))
        release = spread * (effects * u + drift[0] + noise[0])
        if level == "L3":
            # before as if the shadow had never seen the example: else it leaks, whatever is released
            before = spread * (drift[1] + noise[1])
            found.append(audit(release + 0.7 * before, u, ~u, cluster, level="L3", before_phi=before)[0])
        else:
            found.append(audit(release, u, ~u, cluster, level=level)[0])
    return found


@pytest.mark.parametrize(("shadows", "effect"), [(16, 0.0), (16, 1.0), (32, 1.0), (16, 4.0)])
def test_intervals_cover_the_mean_of_the_attack(shadows: int, effect: float, pairs: Draw) -> None:
    found = results(np.random.default_rng(shadows), pairs, shadows, effect)
    value, low, high = np.array([(r.value, r.low, r.high) for r in found]).T
    coverage = float(np.mean((low <= value.mean()) & (value.mean() <= high)))
    print(f"{shadows} shadows, effect {effect}: AUC {value.mean():.3f}, coverage {coverage:.3f}")
    assert 0.92 <= coverage <= 1.0
    assert low.min() >= 0
    assert high.max() <= 1


@pytest.mark.parametrize(("shadows", "level"), [(16, "L2"), (32, "L2"), (16, "L0"), (16, "L3")])
def test_a_leak_is_rarely_detected_in_exact_retraining(shadows: int, level: Any, pairs: Draw) -> None:
    found = results(np.random.default_rng(100 + shadows), pairs, shadows, 0.0, level)
    detected = float(np.mean([r.p_value < 0.05 for r in found]))
    print(f"{shadows} shadows, level {level}: a leak is detected in {detected:.3f} of {FARMS} retrained farms")
    assert detected <= 0.05
    assert np.mean([r.value for r in found]) == pytest.approx(0.5, abs=0.01)
