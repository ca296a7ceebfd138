from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError
from harness.attacks.power import (
    auc_standard_error,
    effective_effect,
    expected_auc,
    expected_tpr,
    lowest_readable_fpr,
    smallest_detectable_effect,
    smallest_detectable_effect_per_example,
)
from harness.attacks.ulira import ulira

# shadows: pooled effect (1000 and 100 examples), per-example effect (1 and 1000 tests), lowest rate (1000)
TABLE = {
    16: (0.154, 0.288, 1.51, 3.44, 0.0025),
    64: (0.077, 0.144, 0.71, 1.31, 0.000625),
    128: (0.054, 0.102, 0.50, 0.89, 0.0003125),
    256: (0.038, 0.072, 0.35, 0.62, 0.00015625),
    512: (0.027, 0.051, 0.25, 0.44, 0.000078125),
}


@pytest.mark.parametrize("shadows", TABLE)
def test_planning_figures(shadows: int) -> None:
    many, few, single, corrected, rate = TABLE[shadows]
    assert smallest_detectable_effect(shadows, 1000, inflation=1) == pytest.approx(many, abs=6e-4)
    assert smallest_detectable_effect(shadows, 100, inflation=1) == pytest.approx(few, abs=6e-4)
    assert smallest_detectable_effect_per_example(shadows) == pytest.approx(single, abs=6e-3)
    assert smallest_detectable_effect_per_example(shadows, tests=1000) == pytest.approx(corrected, abs=0.02)
    assert lowest_readable_fpr(shadows, 1000) == pytest.approx(rate)


def test_the_smallest_effect_is_where_the_expected_auc_clears_the_error() -> None:
    d = smallest_detectable_effect(64, 200)
    assert expected_auc(d, 64) - 0.5 == pytest.approx((1.959964 + 0.841621) * auc_standard_error(64, 200))


def test_more_shadows_never_hurt_and_known_parameters_are_the_limit() -> None:
    effects = [effective_effect(0.5, n) for n in (2, 16, 128, 10**9)]
    assert effects == sorted(effects)
    assert effects[-1] == pytest.approx(0.5)
    assert effective_effect(-0.5, 16) == effective_effect(0.5, 16) > 0
    assert expected_auc(0.0, 16) == 0.5
    assert expected_tpr(0.0, 64, 0.01) == pytest.approx(0.01)


@pytest.mark.parametrize(("shadows", "d"), [(32, 1.0), (64, 0.5), (128, 2.0)])
def test_expected_auc_is_what_the_attack_reaches(shadows: int, d: float, pairs: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    values = []
    for _ in range(10):
        u, cluster = pairs(rng, shadows, 200)
        llr = ulira(rng.normal(size=u.shape) + d * u, u, ~u, cluster)
        values.append(auc(llr[u], llr[~u]))
    assert np.mean(values) == pytest.approx(expected_auc(d, shadows), abs=0.01)


def test_a_hopeless_plan_says_so() -> None:
    assert smallest_detectable_effect(2, 1) == math.inf
    assert smallest_detectable_effect_per_example(2) == math.inf
    with pytest.raises(AttackError, match="at least 2 and 1"):
        expected_auc(1.0, 0)
    with pytest.raises(AttackError, match="at least 2 and 1"):
        auc_standard_error(16, 0)
