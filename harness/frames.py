"""Rows of some units as polars frames, and the metrics of the trials among them."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from harness.metrics import derive
from harness.store import Store
from harness.unit import Kind

FEW_UNITS = 1_000
"""Up to here a filter by ids is quick, and reaches the files; of tens of thousands a join is 17 times faster."""


def of_units(store: Store, table: str, units: Collection[str]) -> pl.DataFrame:
    """Return the rows of a table that belong to the given unit ids."""
    return among(store.scan(table), units).collect()


def among(rows: pl.LazyFrame, units: Collection[str]) -> pl.LazyFrame:
    """Return the rows that belong to the given unit ids."""
    if len(units) <= FEW_UNITS:
        return rows.filter(pl.col("unit").is_in(list(units)))
    return rows.join(pl.LazyFrame({"unit": list(units)}, schema={"unit": pl.String}), on="unit", how="semi")


def trials(store: Store, units: Collection[str]) -> pl.DataFrame:
    """Return every metric of the trials among the given units: one row per trial and metric.

    Columns: dataset, scenario, architecture, method, config, seed, status, metric, value, flag. A value that could
    not be computed is null, and `flag` says why.
    """
    # A large study is nearly all search, and none of it is compared.
    rows = (store.scan(table).filter(pl.col("kind") != Kind.SEARCH) for table in ("units", "metrics"))
    return derive(*(among(some, units).collect() for some in rows))
