"""The root of a stranger: a finished study without anything trained, and every question that only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import tiny_study
import torch
from tiny_hostile import outcome

from harness import repro, tables
from harness.planner import Plan
from harness.store import Store, documents
from harness.store.files import Files
from harness.tracking.plan import StoredPlan
from harness.unit import Unit

MOMENT = "2026-01-02T03:04:05+00:00"
LEASE = {"host": "elsewhere", "pid": 1, "started": MOMENT, "heartbeat": MOMENT}


def rows_of(finished: Unit, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    """Return what a finished unit may leave."""
    same = {**finished.columns(), "attempt": 1, **changes}
    signal = {"pool": "p", "query": "identity", "phi": [0.5, -1.0], "member": [True, False], "n": 2}
    return {
        "units": [same | {"status": "done", "hyperparameters": "{}", "versions": "{}", "device": "cpu", "host": "h"}],
        "metrics": [same | {"part": part, "metric": "accuracy", "value": 0.5} for part in ("retain", "forget", "test")],
        "epochs": [same | {"epoch": epoch, "loss": 0.5} for epoch in range(2)],
        "signals": [same | signal],
    }


def plan_of(folder: Path, study: Mapping[str, Any] = tiny_study.PLAIN) -> Plan:
    """Return the plan of a small study."""
    return tiny_study.plan_of(folder, study)


def root_of(path: Path, plan: Plan) -> Path:
    """Make a root with the whole plan: two units folded, one that is not, a failure, weights, and a lease."""
    store = Store.open(str(path), write=True)
    first, second, third, failed, *_ = plan.units.values()
    for unit in (first, second):
        store.commit(unit.id, rows_of(unit))
    store.fold()
    store.commit(third.id, rows_of(third))
    same = {**failed.columns(), "attempt": 1, "phase": "unlearn", "exception": "E", "message": "m", "traceback": "t"}
    store.commit_failure(failed.id, 1, {"failures": [same]})
    store.save_model(first.id, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2, dtype=torch.int64)})
    store.write_plan(plan.id, plan.to_json())
    documents.write(Files.open(store.uri, write=True), f"studies/{plan.id}.lease", LEASE)
    return path


def looked_at(root: Path, plan: Plan) -> list[Any]:
    """Ask a root everything that only reads; return the answers, of which each is one or one line."""
    store, (first, _, third, *_) = Store.open(str(root)), plan.units
    questions: list[Callable[[], Any]] = [
        *(
            lambda table=table: readable(lambda: store.scan(table).collect())
            for table in ("units", "metrics", "signals")
        ),
        store.committed,
        store.ended,
        store.models,
        lambda: store.load_model(first),
        lambda: store.has_model(first),
        store.plans,
        lambda: [StoredPlan.of(document).cells for document in store.studies()],
        lambda: readable(lambda: tables.results(str(root))),
        lambda: repro.find(store, first),
        lambda: store.lease_holder(plan.id),
        lambda: store.left_by(third, ("units", "metrics")),
        lambda: store.read_report("plain"),
    ]
    return [outcome(question) for question in questions]


def readable(question: Callable[[], pl.DataFrame]) -> pl.DataFrame | str:
    """Return a table, or what polars says of a part that deceives all others: the command line makes one line of it."""
    try:
        return question()
    except pl.exceptions.PolarsError as error:
        if "parquet" not in str(error):
            raise
        return str(error)
