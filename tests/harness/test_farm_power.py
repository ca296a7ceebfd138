"""What a farm costs and can show, against the counts of its plan and the formulas written out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import tiny_study

from harness.attacks import smallest_detectable_effect, smallest_detectable_effect_per_example
from harness.farm import Farm, FarmRef, PoolSpec
from harness.farm_deep_unlearn import half_splits
from harness.farm_power import FarmPower, farm_power
from harness.unit import Kind

CANARY = PoolSpec("canary", 120, "random")
CDF = NormalDist().cdf


def pairs_of(shadows: int, *pools: PoolSpec, **more: Any) -> FarmPower:
    return farm_power(Farm(FarmRef(pools or (CANARY,)), shadows, shadows // 4 * 2, **more), 16, 1438)


def test_a_farm_of_pairs_counts_what_the_specification_counts() -> None:
    """N + T R trainings, M T N runs, N (1 + M T) + T R passes; K = N / 2, N / 2 and R."""
    power = pairs_of(32)
    assert (power.trainings, power.unlearn_runs, power.inference_passes) == (48, 512, 560)
    assert (power.unlearned, power.never_in, power.retrained, power.as_pairs, power.null) == (16, 16, 16, 32, "O")
    two = pairs_of(32, CANARY, PoolSpec("clean", 40))
    assert (two.trainings, two.unlearn_runs, two.inference_passes) == (64, 1024, 32 * 33 + 32)
    assert [(pool.pool, pool.images, pool.forget_set) for pool in two.pools] == [("canary", 120, 60), ("clean", 40, 20)]


@pytest.mark.parametrize(
    "farm",
    [
        {"shadows": 8, "tuning": 2, "pools": {"a": {"size": 8}, "b": {"size": 8}}},
        {"shadows": 6, "design": "conditional", "pools": {"a": {"size": 8}}, "queries": ["identity", "flip"]},
        {"shadows": 4, "design": "half_splits", "draws": 3, "tuning": 2},
    ],
    ids=str,
)
def test_the_counts_are_those_of_the_plan(tmp_path: Path, farm: dict[str, Any]) -> None:
    plan = tiny_study.plan_of(tmp_path, farm=farm)
    assert plan.study.farm is not None
    counts = plan.counts()
    power = farm_power(plan.study.farm, 3, 1438)  # finetune, ct, and the original itself
    assert power.unlearn_runs == counts[Kind.SHADOW_UNLEARN]
    assert power.trainings == counts[Kind.SHADOW] + counts[Kind.SHADOW_RETRAIN]
    of_farm = sum(unit.kind.of_farm for unit in plan.units.values())
    assert power.inference_passes == of_farm * len(farm.get("queries", [0]))


def test_the_power_on_a_pool_solves_the_formulas() -> None:
    (pool,) = pairs_of(32).pools
    assert pool.effect is not None
    shrunk = pool.effect**2 / np.sqrt(pool.effect**2 + 4 / 32)
    margin = (NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)) * 1.85 / np.sqrt(3 * 32 * 120)
    assert CDF(shrunk / np.sqrt(2)) - 0.5 == pytest.approx(margin)
    assert pool.auc == pytest.approx(0.5 + margin)
    assert pool.effect_of_one == smallest_detectable_effect_per_example(32)
    assert pool.effect_of_any == smallest_detectable_effect_per_example(32, tests=120)
    assert pool.lowest_fpr == pytest.approx(20 / (16 * 120))


def test_too_few_shadows_show_nothing_and_say_so() -> None:
    power = pairs_of(2, PoolSpec("p", 8))
    assert {name: value for name, value in asdict(power.pools[0]).items() if value is None} == dict.fromkeys(
        ("effect", "auc", "effect_of_one", "effect_of_any")
    )
    assert power.pools[0].lowest_fpr == 1.0


def test_a_conditional_farm_compares_every_release_with_every_retrain() -> None:
    farm = Farm(FarmRef((PoolSpec("random", 100),), design="conditional"), 100, 100)
    power = farm_power(farm, 3, 1438)
    assert (power.unlearned, power.never_in, power.retrained, power.null) == (100, 0, 100, "R")
    assert (power.trainings, power.unlearn_runs, power.inference_passes) == (200, 300, 500)
    (pool,) = power.pools
    assert (power.as_pairs, pool.forget_set) == (200, 100)  # K = 100 in each world, as 200 shadows in pairs have
    assert pool.effect == smallest_detectable_effect(200, 100)
    fewer = farm_power(Farm(farm.ref, 100, 50), 3, 1438)
    assert fewer.as_pairs == 133  # 4 / (1/100 + 1/50)
    assert fewer.pools[0].lowest_fpr == pytest.approx(20 / (50 * 100))


def test_half_splits_observe_an_image_as_often_as_the_arrays_do() -> None:
    """Images forgotten in several draws of a split, or never seen by it, count once for each split."""
    power = farm_power(Farm(FarmRef((), design="half_splits"), 64, 64, draws=10), 7, 2000)
    design = half_splits(2000)
    (pool,) = power.pools
    assert (pool.images, pool.forget_set) == (1900, 95)
    assert (power.unlearned, power.never_in, power.retrained) == (32, 320, 32)
    assert power.unlearned == design.forget.size / 1900
    assert (power.trainings, power.unlearn_runs, power.inference_passes) == (64 + 640, 7 * 640, 64 + 8 * 640)
    forgotten_in = sum(len(np.unique(forget)) for forget in design.forget) / 1900
    assert forgotten_in == pytest.approx(32 * (1 - 0.9**10), abs=0.2)
    assert power.as_pairs == int(4 / (1 / forgotten_in + 1 / 32)) == 50
    assert pool.lowest_fpr == pytest.approx(20 / (320 * 1900))
