"""What a farm costs in models and what its audit can show, known before anything runs.

The counts are those of one data set and architecture. What an audit can show follows from `harness.attacks.power`,
whose formulas are for N shadows in pairs: K = N/2 observations of an image in each of two worlds. Worlds of K and L
observations tell the means apart as well as N = 4 / (1/K + 1/L) of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.attacks import (
    expected_auc,
    lowest_readable_fpr,
    smallest_detectable_effect,
    smallest_detectable_effect_per_example,
)
from harness.farm import EVERYTHING, Design, Farm
from harness.farm_deep_unlearn import half_split, held_out
from harness.planner import Plan
from harness.study import development_images
from harness.unit import Kind


@dataclass(frozen=True)
class PoolPower:
    """What an audit can show on a pool, with 80 % power at the 5 % level; None: no effect is large enough.

    An effect d is the shift of phi in its standard deviations: `effect` if it is that of every image, with the `auc` to
    expect then; `effect_of_one` of a single image, alone or (`effect_of_any`) as one of all that are tested. Below
    `lowest_fpr` fewer than 20 false positives are to be expected. `forget_set` is the (mean) size of a forget set.
    """

    pool: str
    images: int
    forget_set: int
    effect: float | None
    auc: float | None
    effect_of_one: float | None
    effect_of_any: float | None
    lowest_fpr: float


@dataclass(frozen=True)
class FarmPower:
    """The counts of a farm and the power of its audit against `null`.

    `retrains` and `forget_sets` of each shadow; `unlearned`, `never_in` and `retrained` are (mean) observations per
    image. So many shadows in pairs would show as much: `as_pairs`; draws from one split count as one observation.
    """

    design: Design
    shadows: int
    tuning: int
    forget_sets: int
    retrains: int
    unlearned: float
    never_in: float
    retrained: float
    as_pairs: int
    null: Literal["O", "R"]
    trainings: int
    unlearn_runs: int
    inference_passes: int
    pools: tuple[PoolPower, ...]


@dataclass(frozen=True)
class _Worlds:
    """Observations per image in three worlds, and how many of the first two are independent (a mean: no integer)."""

    unlearned: float
    never_in: float
    retrained: float
    independent: tuple[float, float]
    scored: float
    """Observations of the null world, each of which can be a false positive."""


def powers_of(plan: Plan) -> dict[str, FarmPower]:
    """Return the counts and the power of the study's farm by data set."""
    study = plan.study
    if study.farm is None:
        return {}
    treated = (unit for unit in plan.units.values() if unit.kind == Kind.SHADOW_UNLEARN)
    methods = len({(unit.method.name, unit.config) for unit in treated})
    return {dataset.label: farm_power(study.farm, methods, development_images(dataset)) for dataset in study.datasets}


def farm_power(farm: Farm, methods: int, development: int) -> FarmPower:
    """Return the counts and the power of a farm that audits so many methods, the doing-nothing one included.

    `development` images are not test: all of them but val are audited by half splits. One `inference_pass` is a model
    on all that it is audited on, with one query.
    """
    forget_sets = len(farm.pools)
    worlds, sizes = _worlds(farm, development), _sizes(farm, development)
    as_pairs = int(4 / sum(1 / observations for observations in worlds.independent))
    shadows, retrained = len(farm.numbers), farm.retrains * forget_sets
    unlearn_runs = methods * forget_sets * shadows
    return FarmPower(
        design=farm.ref.design,
        shadows=farm.shadows,
        tuning=farm.tuning,
        forget_sets=forget_sets,
        retrains=farm.retrains,
        unlearned=worlds.unlearned,
        never_in=worlds.never_in,
        retrained=worlds.retrained,
        as_pairs=as_pairs,
        null="R" if farm.ref.design == "conditional" else "O",
        trainings=shadows + retrained,
        unlearn_runs=unlearn_runs,
        inference_passes=(shadows + unlearn_runs + retrained) * len(farm.ref.queries),
        pools=tuple(_pool(*about, as_pairs, worlds.scored) for about in sizes),
    )


def _worlds(farm: Farm, development: int) -> _Worlds:
    if farm.ref.design == "pairs":
        half = farm.shadows / 2
        return _Worlds(half, half, farm.retrains, (half, half), half)
    if farm.ref.design == "conditional":
        return _Worlds(farm.shadows, 0, farm.retrains, (farm.shadows, farm.retrains), farm.retrains)
    half, share = farm.shadows / 2, _forget_set(development) / len(half_split(development, 0).train)
    forgotten_in = half * (1 - (1 - share) ** farm.draws)  # splits: those with at least one draw that forgets it
    draws = half * farm.draws
    retrained = farm.retrains / 2 * farm.draws * share
    return _Worlds(draws * share, draws, retrained, (forgotten_in, half), draws)


def _sizes(farm: Farm, development: int) -> list[tuple[str, int, int]]:
    """Return name, images and size of a forget set of what is audited."""
    if farm.ref.design == "half_splits":
        return [(EVERYTHING, len(held_out(development)[0]), _forget_set(development))]
    whole = farm.ref.design == "conditional"
    return [(pool.name, pool.size, pool.size if whole else pool.size // 2) for pool in farm.ref.pools]


def _forget_set(development: int) -> int:
    return len(half_split(development, 0).draw(0)[1])


def _pool(name: str, images: int, forget_set: int, as_pairs: int, scored: float) -> PoolPower:
    lowest_fpr = lowest_readable_fpr(round(2 * scored), images)
    if as_pairs < 2:
        return PoolPower(name, images, forget_set, None, None, None, None, lowest_fpr)
    effect = _finite(smallest_detectable_effect(as_pairs, images))
    return PoolPower(
        pool=name,
        images=images,
        forget_set=forget_set,
        effect=effect,
        auc=None if effect is None else expected_auc(effect, as_pairs),
        effect_of_one=_finite(smallest_detectable_effect_per_example(as_pairs)),
        effect_of_any=_finite(smallest_detectable_effect_per_example(as_pairs, tests=images)),
        lowest_fpr=lowest_fpr,
    )


def _finite(effect: float) -> float | None:
    return effect if math.isfinite(effect) else None
