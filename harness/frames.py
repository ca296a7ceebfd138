"""The tables of a root as polars frames: whole, or of one study."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from harness.metrics import derive
from harness.store import Store
from harness.study import Study


def scan(table: str, root: str | None = None) -> pl.LazyFrame:
    """Return a table of a root, repeated keys dropped: one row per key, newest attempt."""
    return Store.open(root).scan(table)


def of_units(store: Store, table: str, units: Collection[str]) -> pl.DataFrame:
    """Return the rows of a table that belong to the given unit ids."""
    return store.scan(table).filter(pl.col("unit").is_in(list(units))).collect()


def results(study: Study | str, root: str | None = None) -> pl.DataFrame:
    """Return every metric of every trial of a study: one row per trial and metric.

    Columns: dataset, scenario, architecture, method, config, seed, status, metric, value, flag. A value that could
    not be computed is null, and `flag` says why.
    """
    from harness.planner import make_plan
    from harness.study import load_study

    plan = make_plan(load_study(study) if isinstance(study, str) else study)
    return trials(Store.open(root), plan.units)


def trials(store: Store, units: Collection[str]) -> pl.DataFrame:
    """Return the derived metrics of the trials among the given units."""
    return derive(of_units(store, "units", units), of_units(store, "metrics", units))
