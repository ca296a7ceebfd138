"""What takes all seeds of a cell together: how far a method is from retrain, measured by retrain's own spread."""

from __future__ import annotations

import polars as pl

from harness.metrics.derive import CELL, RETENTION_PARTS, RETRAIN
from harness.metrics.noncentral import delta_limits

GAP_IN_SD = "gap_in_retrain_sd"
IN_SD = "in_retrain_sd"

_COMPETITOR = (*CELL, "method", "config")
_NAMES = pl.Schema(dict.fromkeys((*_COMPETITOR, "metric"), pl.String()))
_SCHEMA = pl.Schema({**_NAMES, "value": pl.Float64(), "flag": pl.String()})
_LIMITED = pl.Schema({**_NAMES, "value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "flag": pl.String()})


def in_retrain_sd(values: pl.DataFrame) -> pl.DataFrame:
    """Return dataset, scenario, architecture, method, config, metric, value, low, high, flag.

    A row for each cell, competitor and metric of `values`, the frame of `harness.metrics.derive`. `value` is z = (mean
    over seeds - retrain's mean) / retrain's standard deviation over seeds (n - 1), with its sign; `low` and `high` are
    its 95 % limits (`harness.metrics.noncentral`; null for retrain, which is what is compared with). A mean is over the
    seeds that have the value. `value` is null where `flag` says why: no trial, retrain with one seed, a metric in which
    all seeds of retrain are equal (the forget accuracy of a forgotten class).
    """
    known = values.filter(pl.col("method") == RETRAIN, pl.col("value").is_not_null())
    retrain = known.group_by(*CELL, "metric").agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(ddof=1),
        count=pl.len(),
        flat=pl.col("value").min() == pl.col("value").max(),
    )
    own = values.group_by(*_COMPETITOR, "metric").agg(
        pl.col("value").mean(), own=pl.col("value").count(), flag=pl.col("flag").drop_nulls().first()
    )
    joined = own.join(retrain, on=(*CELL, "metric"), how="left").sort(*_COMPETITOR, "metric")
    found = joined.with_columns(flag=_reason(), value=(pl.col("value") - pl.col("mean")) / pl.col("sd"))
    found = found.with_columns(value=pl.when(pl.col("flag").is_null()).then("value"))
    return _with_limits(found).select(_LIMITED.names()).cast(_LIMITED)


def _with_limits(found: pl.DataFrame) -> pl.DataFrame:
    low, high = delta_limits(
        found["value"].fill_null(float("nan")).to_numpy(),
        found["own"].cast(pl.Float64).to_numpy(),
        found["count"].fill_null(0).cast(pl.Float64).to_numpy(),
    )
    limits = found.with_columns(low=pl.Series(low, nan_to_null=True), high=pl.Series(high, nan_to_null=True))
    is_known = pl.col("value").is_not_null() & (pl.col("method") != RETRAIN)
    return limits.with_columns(pl.when(is_known).then(name).alias(name) for name in ("low", "high"))


def gap_in_retrain_sd(values: pl.DataFrame) -> pl.DataFrame:
    """Return dataset, scenario, architecture, method, config, metric, value, flag: a row per cell and competitor.

    `value` is the mean size of z (`in_retrain_sd`) over retain, forget and test accuracy. Not one of the metrics of
    `harness.metrics.derive`, because it is not one of a trial: one seed has no spread, and a value repeated for every
    seed would get an interval without width.
    """
    parts = values.filter(pl.col("metric").is_in([f"accuracy_{part}" for part in RETENTION_PARTS]))
    gaps = (
        in_retrain_sd(parts)
        .group_by(_COMPETITOR, maintain_order=True)
        .agg(metric=pl.lit(GAP_IN_SD), value=pl.col("value").abs().mean(), flag=pl.col("flag").drop_nulls().first())
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
