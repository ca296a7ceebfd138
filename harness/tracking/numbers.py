"""The numbers of a cell as MLflow metrics: values with the ends of their intervals, and series. Names: `names`."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from harness.metrics import CLASS_PARTS, PARTS
from harness.ranking import OVERALL
from harness.tracking.names import CI_HIGH, CI_LOW, EPOCHS, SEEDS, Row, attack_name, metric_name, rank_name, series_name

CURVES = {part: f"accuracy_{part}" for part in (*PARTS, *CLASS_PARTS)}
"""Columns of `epochs` that are metrics, and which."""

Series = dict[str, dict[int, float]]


def metrics_of(
    estimates: pl.DataFrame, rankings: pl.DataFrame, attacks: pl.DataFrame, *, with_pools: bool
) -> dict[str, float]:
    """Return a cell's metrics by name, with the ends of an interval where one is known.

    The ranks are those of its method in the whole study. `with_pools` says whether attacks are named by their pool.
    """
    metrics: dict[str, float] = {}
    for row in estimates.iter_rows(named=True):
        metrics |= _with_interval(metric_name(row["metric"]), row, "value", "low", "high")
    for row in rankings.filter(pl.col("group") == OVERALL).iter_rows(named=True):
        if row["metric"] == OVERALL:
            metrics |= _with_interval(metric_name(OVERALL), row, "value", "low", "high")
        metrics |= _with_interval(rank_name(row["metric"]), row, "rank", "rank_low", "rank_high")
    for row in attacks.iter_rows(named=True):
        metrics |= _with_interval(attack_name(row, with_pool=with_pools), row, "value", "low", "high")
    return metrics


def seed_series(trials: pl.DataFrame) -> Series:
    """Return the value of every seed, as `seeds/<name>` with the seed as the step."""
    known = trials.filter(pl.col("value").is_not_null()).select("metric", "seed", "value")
    names = {metric: series_name(SEEDS, metric_name(metric)) for metric in known["metric"].unique()}
    return _series((names[metric], seed, value) for metric, seed, value in known.rows())


def epoch_series(epochs: pl.DataFrame) -> Series:
    """Return the means over seeds of a cell's curves, as `epochs/<name>` with the epoch as the step."""
    names = {part: metric_name(metric) for part, metric in CURVES.items()}
    names |= {name: name for name in ("loss", "learning_rate")}
    long = epochs.unpivot(list(names), index="epoch", variable_name="curve")
    means = long.filter(pl.col("value").is_finite()).group_by("curve", "epoch").agg(pl.col("value").mean())
    points = means.sort("curve", "epoch").select("curve", "epoch", "value").rows()
    return _series((series_name(EPOCHS, names[curve]), epoch, value) for curve, epoch, value in points)


def _series(points: Iterator[tuple[str, int, float]]) -> Series:
    series: Series = {}
    for name, step, value in points:
        series.setdefault(name, {})[step] = value
    return series


def _with_interval(name: str, row: Row, *columns: str) -> Iterator[tuple[str, float]]:
    for suffix, column in zip(("", CI_LOW, CI_HIGH), columns, strict=True):
        if row[column] is not None:
            yield name + suffix, row[column]
