"""`harness open`: from a run of MLflow to its trials, and from a trial to its runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.text import columns, say

if TYPE_CHECKING:
    from harness.store import Store
    from harness.tracking import Address, TrackedRun
    from harness.tracking.plan import PlannedUnit, StoredPlan


@click.command()
@click.argument("id_", metavar="RUN_ID")
@options.root
@click.option("--tracking-uri", metavar="URI", help="Where MLflow is.  [$MLFLOW_TRACKING_URI or mlflow.db in the root]")
@options.as_json
def command(id_: str, root: str | None, tracking_uri: str | None, as_json: bool) -> None:
    """Show the plan, the cell and the trials of RUN_ID, a run of MLflow, or the first digits of its id.

    For the id of a unit, or the first digits of it, the way back: the runs that show its numbers.

    \b
    harness open 0e1c5a7d94b84c1f8a53
    harness open 6c43b0f8 --root /data/runs
    """
    from harness.store import Store
    from harness.tracking import find_address, find_unit
    from harness.tracking.plan import StoredPlan

    store = Store.open(root)
    address = find_address(store.address, tracking_uri)
    plans = {plan: StoredPlan.of(store.read_plan(plan)) for plan in store.plans()}
    units = find_unit(plans.values(), id_)
    if units:
        document, text = _of_unit(units, address), _unit_text
    else:
        document, text = _of_run(id_, plans, store, address), _run_text
    say(json.dumps(document, indent=2) if as_json else text(document))


def _of_run(beginning: str, plans: dict[str, StoredPlan], store: Store, address: Address) -> dict[str, Any]:
    """Return what a run stands for: its trials if it is that of a cell, the runs of its cells if that of a plan."""
    from harness.tracking import NoSuchRun, find_run, runs_of_plan, trials_of

    run = find_run(address, beginning)
    if run.plan not in plans:
        where = f"which is not in {store.address}; name its root with --root"
        raise NoSuchRun(f"run {run.id} is of plan {run.plan}, {where}")
    plan = plans[run.plan]
    about = {"run": _run(run, address), "plan": plan.id, "study": plan.study, "question": plan.question}
    if not run.cell:
        runs = runs_of_plan(address, plan.id)
        return about | {"cells": [_run(runs[str(cell)], address) for cell in plan.cells if str(cell) in runs]}
    cell = next(cell for cell in plan.cells if str(cell) == run.cell)
    return about | {"cell": asdict(cell), "trials": [asdict(trial) for trial in trials_of(plan, cell, store)]}


def _of_unit(found: list[tuple[StoredPlan, PlannedUnit]], address: Address) -> dict[str, Any]:
    """Return a unit and the runs that show it: those of its cell, else that of its plan."""
    from harness.tracking import runs_of_plan

    runs = []
    for plan, unit in found:
        own = runs_of_plan(address, plan.id)
        runs += [_run(own[key], address) for key in (str(unit.cell), "") if key in own][:1]
    unit = found[0][1]
    about = {"unit": unit.id, "kind": unit.kind, "cell": asdict(unit.cell), "seed": unit.seed}
    return about | {"plans": [plan.id for plan, _ in found], "runs": runs}


def _run(run: TrackedRun, address: Address) -> dict[str, Any]:
    server = address.shown.rstrip("/") if address.is_server else ""
    return asdict(run) | {"path": server + run.path}


def _run_text(document: dict[str, Any]) -> str:
    run = document["run"]
    head = [["run", run["name"]], ["status", run["status"]], ["plan", document["plan"]]]
    head += [["question", document["question"]], ["page", run["path"]]]
    if "cells" in document:
        rows = [[one["id"], one["status"], one["cell"]] for one in document["cells"]]
        return f"{columns(head)}\n\n{columns(rows, ['run', 'status', 'cell'])}"
    head.append(["cell", " ".join(document["cell"].values())])
    return f"{columns(head)}\n\n{_trials_text(document['trials'])}\n\nall about one: harness show TRIAL"


def _trials_text(trials: list[dict[str, Any]]) -> str:
    from harness.metrics import definition
    from harness.tracking.notes import HEADLINE

    known = {metric for trial in trials for metric in trial["metrics"]}
    shown = [metric for metric in HEADLINE if metric in known]
    rows = [
        [trial["unit"], str(trial["seed"]), trial["status"], *(_number(trial["metrics"].get(one)) for one in shown)]
        for trial in trials
    ]
    return columns(rows, ["trial", "seed", "status", *(definition(metric).label for metric in shown)])


def _unit_text(document: dict[str, Any]) -> str:
    cell = " ".join(filter(None, document["cell"].values()))
    head = [["unit", document["unit"]], ["what", f"{document['kind']}, {cell}, seed {document['seed']}"]]
    if not document["runs"]:
        return f"{columns(head)}\n\nnot in MLflow yet: harness sync {document['plans'][0]}"
    rows = [[run["id"], run["name"], run["status"], run["path"]] for run in document["runs"]]
    return f"{columns(head)}\n\n{columns(rows, ['run', 'name', 'status', 'page'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
