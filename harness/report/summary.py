"""Means with intervals, and the single values behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.metrics import CELL
from harness.ranking import Resample, has_replicates, hierarchical_mean, interval, merge_searches, resample
from harness.report.data import finite

Floats = NDArray[np.float64]

DRAWS = 2_000
KEY = ("method", "config", "metric")
_NUMBERS = ("value", "low", "high")
_AXES: dict[str, tuple[str, ...]] = {
    "cell_at": CELL,
    "seed_at": ("seed",),
    "competitor_at": ("method", "config"),
}
_SCHEMA = pl.Schema(dict.fromkeys(KEY, pl.String()) | dict.fromkeys(_NUMBERS, pl.Float64()))


def summarise(trials: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Return method, config, metric, value, low, high: a row per competitor and metric that has a value.

    `value` is the mean over cells of the mean over seeds, `low` to `high` its 95 % interval by the bootstrap
    of `harness.ranking`, null if no cell has two seeds.
    """
    rows = merge_searches(finite(trials)).filter(pl.col("metric").is_in(list(metrics)))
    if rows.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    labels = {place: rows.select(key).unique().sort(key) for place, key in _AXES.items()}
    for place, key in _AXES.items():
        rows = rows.join(labels[place].with_row_index(place), on=key, maintain_order="left")
    shape = tuple(label.height for label in labels.values())
    grid = np.zeros(shape[:2], dtype=bool)
    grid[rows["cell_at"].to_numpy(), rows["seed_at"].to_numpy()] = True
    resampled = resample(grid, draws=DRAWS)
    found = [_summary(rows.filter(pl.col("metric") == one), shape, resampled, one) for one in metrics]
    columns = [labels["competitor_at"].hstack(one) for one in found]
    return pl.concat(columns).select(*_SCHEMA.names()).fill_nan(None).filter(pl.col("value").is_not_null())


def _summary(rows: pl.DataFrame, shape: tuple[int, ...], resampled: Resample, metric: str) -> pl.DataFrame:
    """Return metric, value, low, high of each competitor, NaN where they are not known."""
    values = np.full(shape, np.nan)
    values[tuple(rows[place].to_numpy() for place in _AXES)] = rows["value"].to_numpy()
    low, high = interval(resampled.means(values))
    known = has_replicates(values)
    return pl.DataFrame(
        {
            "metric": [metric] * shape[2],
            "value": hierarchical_mean(values),
            "low": np.where(known, low, np.nan),
            "high": np.where(known, high, np.nan),
        }
    )


def single(trials: pl.DataFrame) -> pl.DataFrame:
    """Return method, config, metric, value of each seed, or of each cell its mean if there are several.

    The seed, or the columns of the cell, say which.
    """
    rows = merge_searches(finite(trials)).drop_nulls("value").sort(*CELL, "seed", *KEY)
    if rows.select(CELL).n_unique() > 1:
        return rows.group_by(*CELL, *KEY).agg(pl.col("value").mean()).sort(*CELL, *KEY)
    return rows.select("seed", *KEY, "value")


def dots(trials: pl.DataFrame) -> pl.DataFrame:
    """Return method, config, metric, value of `single`: what each small dot of a figure stands for."""
    return single(trials).select(*KEY, "value")


def prefer(values: pl.DataFrame, rankings: pl.DataFrame) -> pl.DataFrame:
    """Return the values with those that the ranking reports in their place: the page says one number once."""
    own = rankings.filter(pl.col("value").is_not_null()).select(*KEY, *_NUMBERS)
    others = values.join(own, on=KEY, how="anti")
    return pl.concat([others, own]).sort("metric", "method", "config")
