"""What a farm costs and can show, in words: for `harness plan` and `harness attack --power`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.cli.text import plural

if TYPE_CHECKING:
    from harness.farm import Design
    from harness.farm_power import FarmPower, PoolPower


def farm_lines(powers: Mapping[str, FarmPower]) -> list[str]:
    """Return what a farm costs and can show, in lines; data sets that differ in it are named."""
    lines = []
    for power in dict.fromkeys(powers.values()):
        named = [label for label, other in powers.items() if other == power]
        prefix = f"{', '.join(named)}: " if len(named) < len(powers) else ""
        lines += [f"farm     {prefix}{_models(power)}; {_observations(power)}", f"         {_counts(power)}"]
        lines += [f"audit    {prefix}{_can_show(pool, power.design)}" for pool in power.pools]
    return lines


def _models(power: FarmPower) -> str:
    tuning = f" + {power.tuning} for tuning" if power.tuning else ""
    if power.design == "half_splits":
        draws = f"{plural(power.forget_sets, 'draw')} each"
        return f"{plural(power.shadows, 'split')}, {draws}{tuning}, {power.retrains * power.forget_sets} retrains"
    pairs = f" ({plural(power.shadows // 2, 'pair')})" if power.design == "pairs" else " on all training images"
    return f"{plural(power.shadows, 'shadow')}{pairs}{tuning} + {plural(power.retrains, 'retrain')} a pool"


def _observations(power: FarmPower) -> str:
    never = "" if power.design == "conditional" else f"{_mean(power.never_in)} never in, "
    about = "about " if power.design == "half_splits" else ""
    worth = "" if power.design == "pairs" else f", as telling as {plural(power.as_pairs, 'shadow')} in pairs"
    return f"K = {about}{_mean(power.unlearned)} unlearned, {never}{_mean(power.retrained)} retrained per image{worth}"


def _mean(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _counts(power: FarmPower) -> str:
    counts = (
        plural(power.trainings, "training") + " from scratch",
        plural(power.unlearn_runs, "unlearn run"),
        f"{power.inference_passes:,} passes of inference",
    )
    return ", ".join(counts)


def _can_show(pool: PoolPower, design: Design) -> str:
    about = "about " if design == "pairs" else ""
    name = f"pool {pool.pool}" if pool.pool else "all draws"
    head = f"{name} ({pool.images:,} images, forget sets of {about}{pool.forget_set:,})"
    readable = f"FPR down to {100 * pool.lowest_fpr:.3g} %"
    if pool.effect is None:
        return f"{head}: shows no leak, however large; {readable}"
    of_one = "of no single image"
    if pool.effect_of_one is not None and pool.effect_of_any is not None:
        of_one = f"of one image from d = {pool.effect_of_one:.1f} ({pool.effect_of_any:.1f} for {pool.images:,} tests)"
    return f"{head}: shows a leak from d = {pool.effect:.2f} on (AUC {pool.auc:.3f}), {of_one}, {readable}"
