"""`harness plan`: what a study would run, what is done, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.farm import farm_lines
from harness.cli.text import brief, columns, device_hours, duration, plural, say, size

if TYPE_CHECKING:
    from harness.farm_power import FarmPower
    from harness.planner import Plan
    from harness.pricing.costs import Costs
    from harness.store import Store

LIMITS = {
    "work": "the work divided by the workers limits it",
    "needs": "what waits for something else limits it: that takes {chain} on any number of workers",
    "timing": "the timing units limit it, which run one at a time: {timing}",
    "driver": "the driver limits it: a unit would end every {per_unit}",
}


def _workers(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[int]:
    """Return the numbers of `8`, `64` or of `8,64`, each once."""
    numbers = [part for text in texts for part in text.split(",")]
    if not all(part.strip().isdecimal() and int(part) > 0 for part in numbers):
        raise click.BadParameter(f"{','.join(texts)!r} must be whole numbers above 0, such as 8,64,512")
    return list(dict.fromkeys(map(int, numbers)))


def _costs(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """Return the seconds of `original=300` or `unlearn/msg=40`, by what is before the sign."""
    stated = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        try:
            stated[name] = float(seconds)
        except ValueError:
            stated[name] = -1.0
        if not 0 <= stated[name] < float("inf"):
            raise click.BadParameter(f"{text!r} must be KIND=SECONDS or KIND/METHOD=SECONDS, such as unlearn/msg=40")
    return stated


@click.command()
@options.study
@options.root
@options.plugin
@click.option(
    "--workers",
    multiple=True,
    default=("1",),
    show_default="1",
    metavar="N",
    callback=_workers,
    help="Workers that share the work: a line for each of 8,64,512. Repeatable.",
)
@click.option(
    "--cost",
    multiple=True,
    metavar="KIND[/METHOD]=SECONDS",
    callback=_costs,
    help="What such a unit takes, whatever was measured in this root. Repeatable.",
)
@options.as_json
def command(study: str, root: str | None, workers: list[int], cost: dict[str, float], as_json: bool) -> None:
    """Show the units of STUDY: how many, done, to run, their price in time and bytes. Runs and writes nothing.

    A price is what units like it took in this root, or what --cost states. The time on N workers is that of the units
    in their order, each after what it needs, and those of kind timing one at a time at the end.

    \b
    harness plan digits
    harness plan my_study.yaml --workers 16
    harness plan deep_unlearn --workers 8,64,512 --cost original=3600 --cost retrain=3600 --cost search=300
    """
    from harness.farm_power import powers_of
    from harness.planner import make_plan
    from harness.store import Store
    from harness.study import load_study

    plan = make_plan(load_study(study))
    _refuse_unknown(plan, cost)
    powers = powers_of(plan)
    store = Store.open(root)
    document = _document(plan, powers, store, workers, _known(plan, store, cost))
    say(json.dumps(document, indent=2) if as_json else _text(document, powers))


def _refuse_unknown(plan: Plan, cost: Mapping[str, float]) -> None:
    from harness.errors import did_you_mean

    kinds = {unit.kind.value for unit in plan.units.values()}
    known = kinds | {f"{unit.kind.value}/{unit.method.name}" for unit in plan.units.values()}
    for name in cost:
        if name not in known:
            raise click.UsageError(f"--cost: no unit of {plan.id} is {name!r}{did_you_mean(name, known)}")


def _known(plan: Plan, store: Store, cost: Mapping[str, float]) -> Costs:
    from harness.pricing.costs import Costs, measured

    resources = plan.study.resources
    share = 1.0 if isinstance(resources, str) else resources.get("gpu") or 1.0
    return Costs.of(measured(store), cost, share)


def _document(
    plan: Plan, powers: Mapping[str, FarmPower], store: Store, workers: list[int], costs: Costs
) -> dict[str, Any]:
    from harness.pricing.makespan import Stages
    from harness.pricing.price import price

    left = plan.remaining(store.committed(), store.models())
    cost = price(left, store, plan.study.keep_models, costs)
    to_run = [unit.kind.value for unit in left]
    stages = Stages(left, cost.by_unit) if cost.unpriced < len(left) else None  # nothing to say where none has a price
    makespans = [asdict(stages.on(count)) for count in workers] if stages else []
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
        "seconds": makespans[0]["seconds"] if makespans else 0.0,
        "unpriced": cost.unpriced,
        "bytes": cost.bytes,
        "left_out": list(plan.left_out),
        "published": [{"models": count, "what": what} for count, what in plan.study.published],
        "farm": {label: asdict(power) for label, power in powers.items()},
        "device_hours": cost.device_hours,
        "workers": makespans,
    }


def _text(document: dict[str, Any], powers: Mapping[str, FarmPower]) -> str:
    rows = [[kind, *(f"{n:,}" for n in counts.values())] for kind, counts in document["kinds"].items()]
    total = ["all", *(f"{document[key]:,}" for key in ("units", "done", "to_run"))]
    lines = [
        f"{document['plan']}  {document['question']}",
        "",
        columns([*rows, total], ["kind", "units", "done", "to run"]),
        "",
        *_prices(document),
        f"stored   about {size(document['bytes'])} more",
        *farm_lines(powers),
        *(f"left out {line}" for line in document["left_out"]),
        *(f"beside   {one['models']:,} models: {one['what']}" for one in document["published"]),
    ]
    return "\n".join(lines)


def _prices(document: dict[str, Any]) -> list[str]:
    if not document["to_run"]:
        return ["price    nothing to run"]
    unpriced = f"{plural(document['unpriced'], 'unit')} of which nothing like them ran in this root yet"
    if document["unpriced"] == document["to_run"]:
        return [f"price    {unpriced}"]
    rest = f", and {unpriced}" if document["unpriced"] else ""
    work, hours = duration(document["worker_seconds"]), device_hours(document["device_hours"])
    return [
        f"price    about {work} of one worker, {hours}{rest}",
        *(f"time     about {_on(one)}" for one in document["workers"]),
    ]


def _on(makespan: Mapping[str, Any]) -> str:
    told = {name: duration(makespan[name] or 0.0) for name in ("seconds", "chain", "timing")}
    per_unit = brief(makespan["per_unit"] or 0.0)
    limit = LIMITS[makespan["limit"]].format(**told, per_unit=per_unit)
    budget = f"; the driver has {per_unit} for each unit" if makespan["per_unit"] else ""
    return f"{told['seconds']} on {plural(makespan['workers'], 'worker')}; {limit}{budget}"
