"""The mean of every metric of every cell over its seeds, with its interval."""

from __future__ import annotations

import numpy as np
import polars as pl

from harness.metrics import CELL, TRIAL
from harness.ranking import REFERENCES, Resample, has_replicates, hierarchical_mean, interval, resample

COMPETITOR = ("method", "config")
SCHEMA = pl.Schema(
    {
        **dict.fromkeys((*CELL, *COMPETITOR, "metric"), pl.String()),
        **dict.fromkeys(("value", "low", "high"), pl.Float64()),
    }
)


def cell_estimates(trials: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Return dataset, scenario, architecture, method, config, metric, value, low, high.

    `trials` and `judged` are the frames of `harness.metrics.derive` and `usable`. `value` is the mean over
    the usable seeds, or over all seeds where none is usable; there is no row where nothing is known. `low`
    to `high` is the 95 % bootstrap interval over seeds, null for a single seed. For a study of one data
    set, scenario and architecture these are the numbers of its ranking.
    """
    rows = trials.join(judged.select(*TRIAL, "usable"), on=TRIAL, maintain_order="left")
    hopeless = ~pl.col("usable").any().over(*CELL, *COMPETITOR)
    shown = rows.with_columns(value=pl.when(pl.col("usable") | hopeless).then("value"))
    groups = shown.partition_by(CELL, maintain_order=True)
    tables = [table for group in groups for table in _of_group(group)]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *tables])


def _of_group(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return one table for each metric of one data set, scenario and architecture."""
    seeds = sorted(rows["seed"].unique())
    methods = rows.filter(~pl.col("method").is_in(REFERENCES))
    ran = set((methods if methods.height else rows)["seed"])
    resampled = resample(np.array([[seed in ran for seed in seeds]]))
    wide = rows.pivot("seed", index=[*CELL, *COMPETITOR, "metric"], values="value", maintain_order=True)
    return [_estimated(own, [str(seed) for seed in seeds], resampled) for own in wide.partition_by("metric")]


def _estimated(wide: pl.DataFrame, seeds: list[str], resampled: Resample) -> pl.DataFrame:
    """Replace the columns of the seeds by mean and interval; `wide` has one row for each competitor."""
    values = wide.select(seeds).cast(pl.Float64).fill_null(float("nan")).to_numpy().T[None]
    low, high = interval(resampled.means(values))
    known = has_replicates(values)
    columns = {
        "value": hierarchical_mean(values),
        "low": np.where(known, low, np.nan),
        "high": np.where(known, high, np.nan),
    }
    estimated = wide.select(*CELL, *COMPETITOR, "metric").with_columns(
        **{name: pl.Series(column) for name, column in columns.items()}
    )
    return estimated.with_columns(pl.col(pl.Float64).fill_nan(None)).filter(pl.col("value").is_not_null())
