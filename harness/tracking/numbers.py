"""The numbers of a cell as MLflow metrics: names, and values with the ends of their intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from harness.ranking import OVERALL

SEEDS, EPOCHS = "seeds", "epochs"
HEADLINE_LEVEL = "L2"
CURVES = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    **{part: f"accuracy_{part}" for part in ("retain", "forget", "val", "test")},
}
"""Columns of `epochs`, and what they are called here."""

Row = Mapping[str, Any]
Series = dict[str, dict[int, float]]

_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")


def metrics_of(estimates: pl.DataFrame, rankings: pl.DataFrame, attacks: pl.DataFrame) -> dict[str, float]:
    """Return a cell's metrics: `name`, and `name.low` and `name.high` where an interval is known.

    The ranks of its method in the whole study are `rank.<metric>`; attacks are named by `attack_name`.
    """
    metrics: dict[str, float] = {}
    for row in estimates.iter_rows(named=True):
        metrics |= _with_interval(row["metric"], row, "value", "low", "high")
    for row in rankings.filter(pl.col("group") == OVERALL).iter_rows(named=True):
        if row["metric"] == OVERALL:
            metrics |= _with_interval(OVERALL, row, "value", "low", "high")
        metrics |= _with_interval(f"rank.{row['metric']}", row, "rank", "rank_low", "rank_high")
    for row in attacks.iter_rows(named=True):
        metrics |= _with_interval(attack_name(row), row, "value", "low", "high")
    return metrics


def attack_name(row: Row) -> str:
    """Return what a row of `attacks` is called: `ulira_auc.canary.O`, `ulira_tpr_at_0.01.canary.R.L1`.

    That is attack and statistic, audit pool, null world, and the attacker's level unless it is the headline.
    """
    attack = "population" if row["null"] == "population" else "ulira"
    statistic = row["metric"].removeprefix(f"{attack}_").replace("@", "_at_")
    worlds = [row["null"]] if row["null"] != "population" else []
    levels = [row["level"]] if row["level"] not in (None, "", HEADLINE_LEVEL) else []
    name = ".".join([f"{attack}_{statistic}", row["pool"], *worlds, *levels])
    return _NOT_IN_A_NAME.sub("_", name)


def seed_series(trials: pl.DataFrame) -> Series:
    """Return the value of every seed, as `seeds/<metric>` with the seed as the step."""
    known = trials.filter(pl.col("value").is_not_null())
    return _series(SEEDS, known.select("metric", "seed", "value"))


def epoch_series(epochs: pl.DataFrame) -> Series:
    """Return the means over seeds of a cell's curves, as `epochs/<what>` with the epoch as the step."""
    long = epochs.rename(CURVES).unpivot(list(CURVES.values()), index="epoch", variable_name="metric")
    means = long.filter(pl.col("value").is_finite()).group_by("metric", "epoch").agg(pl.col("value").mean())
    return _series(EPOCHS, means.sort("metric", "epoch").select("metric", "epoch", "value"))


def _series(prefix: str, points: pl.DataFrame) -> Series:
    series: Series = {}
    for metric, step, value in points.iter_rows():
        series.setdefault(f"{prefix}/{metric}", {})[step] = value
    return series


def _with_interval(name: str, row: Row, *columns: str) -> Iterator[tuple[str, float]]:
    for suffix, column in zip(("", ".low", ".high"), columns, strict=True):
        if row[column] is not None:
            yield name + suffix, row[column]
