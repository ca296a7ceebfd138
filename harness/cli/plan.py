"""`harness plan`: what a study would run, what is done, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.farm import farm_lines
from harness.cli.text import columns, duration, plural, say, size

if TYPE_CHECKING:
    from harness.farm_power import FarmPower
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
    from harness.farm_power import powers_of
    from harness.planner import make_plan
    from harness.study import load_study

    plan = make_plan(load_study(study))
    powers = powers_of(plan)
    document = _document(plan, powers, root, workers)
    say(json.dumps(document, indent=2) if as_json else _text(document, powers, workers))


def _document(plan: Plan, powers: Mapping[str, FarmPower], root: str | None, workers: int) -> dict[str, Any]:
    from harness.price import price
    from harness.store import Store

    store = Store.open(root)
    left = plan.remaining(store.committed(), store.models())
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
        "published": [{"models": count, "what": what} for count, what in plan.study.published],
        "farm": {label: asdict(power) for label, power in powers.items()},
    }


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
        *(f"beside   {one['models']:,} models: {one['what']}" for one in document["published"]),
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
