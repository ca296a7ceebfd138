"""What the releases are still good for: a method that ruins its models leaks nothing."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.audit.releases import DRAWS
from harness.frames import of_units
from harness.store import Store
from harness.unit import Unit

Place = tuple[str, str, str, str, str]
"""Data set, architecture, method, config and pool, as in the `attacks` table."""


def release_accuracy(units: Mapping[str, Unit], store: Store) -> dict[Place, float]:
    """Return the mean test accuracy of the releases of every method on every pool."""
    farm = {
        unit.id: DRAWS if unit.farm is not None and unit.farm.design == "half_splits" else unit.pool
        for unit in units.values()
        if unit.kind.of_farm and unit.pool
    }
    metrics = of_units(store, "metrics", farm).filter(pl.col("part") == "test", pl.col("metric") == "accuracy")
    pools = pl.col("unit").replace_strict(farm, return_dtype=pl.String)
    place = ("dataset", "architecture", "method", "config", "pool")
    return {row[:-1]: row[-1] for row in metrics.with_columns(pool=pools).group_by(place).agg(pl.mean("value")).rows()}
