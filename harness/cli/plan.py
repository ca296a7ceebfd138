"""`harness plan`: what a study would run, what is done, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import columns, duration, plural, size

if TYPE_CHECKING:
    from harness.farm import Design
    from harness.farm_power import FarmPower, PoolPower
    from harness.planner import Plan


@click.command()
@options.study
@options.root
@options.plugin
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Workers that share the time."
)
@options.as_json
def command(study: str, root: str | None, workers: int, as_json: bool) -> None:
    """Show the units of STUDY: how many, done, to run, their price in time and bytes. Runs and writes nothing.

    \b
    harness plan digits
    harness plan my_study.yaml --workers 16
    """
    from harness.planner import make_plan
    from harness.study import load_study

    plan = make_plan(load_study(study))
    powers = powers_of(plan)
    document = _document(plan, powers, root, workers)
    click.echo(json.dumps(document, indent=2) if as_json else _text(document, powers, workers))


def _document(plan: Plan, powers: Mapping[str, FarmPower], root: str | None, workers: int) -> dict[str, Any]:
    from harness.price import price
    from harness.store import Store

    store = Store.open(root)
    committed = store.committed()
    models = {unit.id for unit in plan.units.values() if store.has_model(unit.id)}
    left = plan.remaining(committed, models)
    cost = price(left, store, plan.study.keep_models)
    to_run = [unit.kind.value for unit in left]
    return {
        "plan": plan.id,
        "question": plan.study.question,
        "kinds": {
            kind: {"units": count, "done": count - to_run.count(kind), "to run": to_run.count(kind)}
            for kind, count in plan.counts().items()
        },
        "units": len(plan.units),
        "done": len(plan.units) - len(left),
        "to_run": len(left),
        "worker_seconds": cost.seconds,
        "seconds": cost.seconds / workers,
        "unpriced": cost.unpriced,
        "bytes": cost.bytes,
        "left_out": list(plan.left_out),
        "farm": {label: asdict(power) for label, power in powers.items()},
    }


def powers_of(plan: Plan) -> dict[str, FarmPower]:
    """Return the counts and the power of the study's farm by data set."""
    from harness.farm_power import farm_power
    from harness.study import development_images
    from harness.unit import Kind

    study = plan.study
    if study.farm is None:
        return {}
    treated = (unit for unit in plan.units.values() if unit.kind == Kind.SHADOW_UNLEARN)
    methods = len({(unit.method.name, unit.config) for unit in treated})
    return {dataset.label: farm_power(study.farm, methods, development_images(dataset)) for dataset in study.datasets}


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


def _text(document: dict[str, Any], powers: Mapping[str, FarmPower], workers: int) -> str:
    rows = [[kind, *(f"{n:,}" for n in counts.values())] for kind, counts in document["kinds"].items()]
    total = ["all", *(f"{document[key]:,}" for key in ("units", "done", "to_run"))]
    lines = [
        f"{document['plan']}  {document['question']}",
        "",
        columns([*rows, total], ["kind", "units", "done", "to run"]),
        "",
        f"price    {_price(document, workers)}",
        f"stored   about {size(document['bytes'])} more",
        *farm_lines(powers),
        *(f"left out {line}" for line in document["left_out"]),
    ]
    return "\n".join(lines)


def _price(document: dict[str, Any], workers: int) -> str:
    if not document["to_run"]:
        return "nothing to run"
    priced = document["to_run"] - document["unpriced"]
    parts = []
    if priced:
        parts.append(f"about {duration(document['seconds'])} on {plural(workers, 'worker')}")
    if document["unpriced"]:
        parts.append(f"{plural(document['unpriced'], 'unit')} of which nothing like them ran in this root yet")
    return ", and ".join(parts)
