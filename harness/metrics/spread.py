"""What takes all seeds of a cell together: how far a method is from retrain, measured by retrain's own spread."""

from __future__ import annotations

import polars as pl

from harness.metrics.derive import CELL, RETENTION_PARTS, RETRAIN

GAP_IN_SD = "gap_in_retrain_sd"

_COMPETITOR = (*CELL, "method", "config")
_SCHEMA = pl.Schema(dict.fromkeys((*_COMPETITOR, "metric"), pl.String()) | {"value": pl.Float64(), "flag": pl.String()})


def gap_in_retrain_sd(values: pl.DataFrame) -> pl.DataFrame:
    """Return dataset, scenario, architecture, method, config, metric, value, flag: a row per cell and competitor.

    `values` is the frame of `harness.metrics.derive`. Not one of its metrics, because it is not one of a trial: one
    seed has no spread, and a value repeated for every seed would get an interval without width. A mean is over the
    seeds that have the value. `value` is null where `flag` says why: no trial, retrain with one seed, a part in which
    all seeds of retrain are equal (the forget part of a forgotten class).
    """
    parts = values.filter(pl.col("metric").is_in([f"accuracy_{part}" for part in RETENTION_PARTS]))
    known = parts.filter(pl.col("method") == RETRAIN, pl.col("value").is_not_null())
    retrain = known.group_by(*CELL, "metric").agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(ddof=1),
        count=pl.len(),
        flat=pl.col("value").min() == pl.col("value").max(),
    )
    own = parts.group_by(*_COMPETITOR, "metric").agg(pl.col("value").mean(), pl.col("flag").drop_nulls().first())
    joined = own.join(retrain, on=(*CELL, "metric"), how="left").sort(*_COMPETITOR, "metric")
    by_part = joined.with_columns(flag=_reason(), value=(pl.col("value") - pl.col("mean")).abs() / pl.col("sd"))
    gaps = by_part.group_by(_COMPETITOR, maintain_order=True).agg(
        metric=pl.lit(GAP_IN_SD), value=pl.col("value").mean(), flag=pl.col("flag").drop_nulls().first()
    )
    cleared = pl.when(pl.col("flag").is_null()).then("value")
    return gaps.with_columns(value=cleared).select(_SCHEMA.names()).cast(_SCHEMA)


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("value").is_null())
        .then(pl.coalesce("flag", pl.lit("no usable trial")))
        .when(pl.col("count").is_null())
        .then(pl.lit("no usable retrain"))
        .when(pl.col("count") < 2)
        .then(pl.lit("retrain has one seed"))
        .when("flat")
        .then(pl.format("retrain's {} has no spread", pl.col("metric")))
    )
