"""The statistical tests are tested: over 200 toy farms intervals cover, and exact retraining is rarely accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.attacks.evaluate import Result, audit, evaluate
from harness.attacks.rmia_farm import jackknife_rmia, rmia_farm
from harness.attacks.student import LIRA_VARIANTS
from harness.attacks.ulira import jackknife, ulira

Draw = Callable[..., Any]
pytestmark = pytest.mark.slow
FARMS, EXAMPLES = 200, 30


def results(rng: np.random.Generator, draw: Draw, shadows: int, effect: float, attack: str = "L2") -> list[Result]:
    """The AUC of so many farms of the same examples: effects and spreads that differ, releases that drift."""
    effects, spread = 2 * effect * rng.random(EXAMPLES), np.exp(0.4 * rng.normal(size=EXAMPLES))
    found = []
    for _ in range(FARMS):
        u, cluster = draw(rng, shadows, EXAMPLES)
        drift, noise = 0.3 * rng.normal(size=(2, shadows, 1)), rng.normal(size=(2, shadows, EXAMPLES))
        release, other = spread * (effects * u + drift[0] + noise[0]), spread * (drift[1] + noise[1])
        found.append(_attacked(attack, release, other, u, cluster))
    return found


def _attacked(attack: str, release: np.ndarray, other: np.ndarray, u: np.ndarray, cluster: np.ndarray) -> Result:
    """`other` is the model before the release, as if it had never seen the example (else it leaks, whatever is
    released), or the population of the release."""
    worlds = (release, u, ~u, cluster)
    if attack == "rmia":
        return evaluate(rmia_farm(*worlds, other), *worlds[1:], (), refits=jackknife_rmia(*worlds, other))[0]
    if attack in LIRA_VARIANTS:
        variant: Any = attack
        refits = jackknife(*worlds, variant=variant)
        return evaluate(ulira(*worlds, variant=variant), *worlds[1:], (), refits=refits)[0]
    if attack == "L3":
        return audit(release + 0.7 * other, *worlds[1:], level="L3", before_phi=other)[0]
    level: Any = attack
    return audit(*worlds, level=level)[0]


@pytest.mark.parametrize(
    ("shadows", "effect", "attack"),
    [
        *((16, 0.0, "L2"), (16, 1.0, "L2"), (32, 1.0, "L2"), (16, 4.0, "L2")),
        *((16, effect, attack) for effect in (0.0, 1.0) for attack in ("offline_1s", "offline_2s", "rmia")),
    ],
)
def test_intervals_cover_the_mean_of_the_attack(shadows: int, effect: float, attack: str, pairs: Draw) -> None:
    found = results(np.random.default_rng(shadows), pairs, shadows, effect, attack)
    value, low, high = np.array([(r.value, r.low, r.high) for r in found]).T
    coverage = float(np.mean((low <= value.mean()) & (value.mean() <= high)))
    print(f"{attack}, {shadows} shadows, effect {effect}: AUC {value.mean():.3f}, coverage {coverage:.3f}")
    assert 0.92 <= coverage <= 1.0
    assert low.min() >= 0
    assert high.max() <= 1


@pytest.mark.parametrize(
    ("shadows", "attack", "most"),
    [
        *((16, "L2", 0.05), (32, "L2", 0.05), (16, "L0", 0.05), (16, "L3", 0.05)),
        # not conservative: 200 farms of a test at 5 % find up to 8 % (two standard errors)
        *((16, "offline_1s", 0.08), (16, "offline_2s", 0.08), (16, "rmia", 0.08)),
    ],
)
def test_a_leak_is_rarely_detected_in_exact_retraining(shadows: int, attack: str, most: float, pairs: Draw) -> None:
    found = results(np.random.default_rng(100 + shadows), pairs, shadows, 0.0, attack)
    detected = float(np.mean([r.p_value < 0.05 for r in found]))
    print(f"{attack}, {shadows} shadows: a leak is detected in {detected:.3f} of {FARMS} retrained farms")
    assert detected <= most
    assert np.mean([r.value for r in found]) == pytest.approx(0.5, abs=0.01)
