"""The tables of a root as their users see them: those that are stored, and `trials`, one wide row for each trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from harness.errors import did_you_mean
from harness.frames import of_units
from harness.metrics import RETRAIN, TRIAL, TRIAL_METRICS, definition, derive
from harness.store import SCHEMAS, Store, UnknownTable
from harness.store.columns import SECONDS, TABLES, Column
from harness.unit import Kind

TRIALS = "trials"
KINDS = (Kind.RETRAIN, Kind.UNLEARN, Kind.SEARCH)
"""The units that are trials: a retrain is one too, the reference."""

_PLANNED = {"study": "name of the study", "plan": "id of its plan: the name, and a digest of all that it asks for"}
_STORED = ("unit", "kind", *TRIAL, "attempt", "status", "hyperparameters")
_COSTS = ("work_seconds", "steps", "parameters", "peak_memory", "device", "host", "started", "model")


def scan(root: str | None, table: str) -> pl.LazyFrame:
    """Return a table of a root (None: $HARNESS_ROOT or `runs`): repeated keys dropped, newest attempt.

    `trials` is computed from the others; a filter on another one's dataset, architecture and method reaches the files.
    Raises `UnknownTable` with the nearest name.
    """
    _refuse_unknown(table)
    return results(root).lazy() if table == TRIALS else Store.open(root).scan(table)


def results(root: str | None = None, study: str | None = None) -> pl.DataFrame:
    """Return one row for each trial that has ended, of all studies of a root or of one (its name, or a plan's id).

    Its columns are those of `harness ls columns trials`: where and how it ran, its hyperparameters, and every metric
    of a trial. A metric is null where it is unknown: the trial failed or diverged, or its retrain is missing. A trial
    that is part of several plans has a row for each. Raises `UnknownPlan` for a study that is not there.
    """
    store = Store.open(root)
    rows = [_of_plan(store, document) for document in store.studies(study)]
    return pl.concat([pl.DataFrame(schema=_schema()), *rows])


def columns(table: str) -> list[dict[str, str]]:
    """Return name, type, unit, direction and meaning of every column; the direction is that of a metric.

    Raises `UnknownTable`.
    """
    _refuse_unknown(table)
    if table == TRIALS:
        return [*map(_plain, _described()), *map(_metric, TRIAL_METRICS)]
    return [_plain(column) for column in TABLES[table].columns]


def tables() -> dict[str, str]:
    """Return what a row is, by table."""
    return {TRIALS: "one trial: how it ran, and all its metrics side by side"} | {n: TABLES[n].row for n in SCHEMAS}


def _refuse_unknown(table: str) -> None:
    known = tables()
    if table not in known:
        raise UnknownTable(f"no table {table!r}{did_you_mean(table, known)}")


def _of_plan(store: Store, document: Mapping[str, Any]) -> pl.DataFrame:
    wanted = {*KINDS, Kind.TIMING, *(kind for kind in Kind if kind.of_trial)}
    ids = [unit["id"] for unit in document["units"] if unit["kind"] in wanted]
    units, metrics, epochs = (of_units(store, name, ids) for name in ("units", "metrics", "epochs"))
    is_search = pl.col("kind") == Kind.SEARCH
    searched = units.filter(is_search | (pl.col("kind") == RETRAIN)).with_columns(
        kind=pl.when(is_search).then(pl.lit(Kind.UNLEARN.value)).otherwise("kind")
    )
    values = pl.concat([derive(units.filter(~is_search), metrics, epochs), derive(searched, metrics, epochs)])
    named = pl.when(pl.col("kind") == RETRAIN).then(pl.lit(RETRAIN)).otherwise("method").alias("method")
    trials = units.filter(pl.col("kind").is_in(KINDS)).with_columns(
        named, study=pl.lit(document["study"]), plan=pl.lit(document["id"]), wall_seconds="seconds"
    )
    found = trials.select(column.name for column in _described()).join(_wide(values), on=TRIAL, how="left")
    return found.select(_schema().names()).sort("kind", *TRIAL)


def _wide(values: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each trial and a column for each of its metrics."""
    one = (pl.col("value").filter(pl.col("metric") == name).first().alias(name) for name in TRIAL_METRICS)
    return values.group_by(TRIAL).agg(*one)


def _described() -> Iterable[Column]:
    """Yield the columns of `trials` before the metrics."""
    import pyarrow as pa

    stored = {column.name: column for column in TABLES["units"].columns}
    yield from (Column(name, pa.string(), what) for name, what in _PLANNED.items())
    yield from (stored[name] for name in _STORED)
    yield Column("wall_seconds", pa.float64(), "wall clock of the whole unit, with loading and measuring", SECONDS)
    yield from (stored[name] for name in _COSTS)


def _schema() -> pl.Schema:
    import pyarrow as pa

    empty = pl.from_arrow(pa.schema([(column.name, column.type) for column in _described()]).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return pl.Schema({**empty.schema, **dict.fromkeys(TRIAL_METRICS, pl.Float64())})


def _plain(column: Column) -> dict[str, str]:
    return {"column": column.name, "type": str(column.type), "unit": column.unit, "direction": "", "what": column.what}


def _metric(name: str) -> dict[str, str]:
    known = definition(name)
    return {"column": name, "type": "double", "unit": known.unit, "direction": known.direction, "what": known.what}
