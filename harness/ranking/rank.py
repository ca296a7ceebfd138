"""The ranking of a study, with uncertainty.

That a rank without an interval says little, and that bootstrapped ranks are blunt where methods are close,
is shown by Goldstein and Spiegelhalter 1996 (J. R. Stat. Soc. A 159) and Hall and Miller 2009 (Ann.
Statist. 37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import polars as pl

from harness.metrics import in_retrain_sd
from harness.ranking.bootstrap import (
    Bools,
    Floats,
    Resample,
    has_replicates,
    hierarchical_mean,
    interval,
    resample,
)
from harness.ranking.groups import COLUMNS, GroupRule, check_rule, group_columns, no_group_columns
from harness.ranking.noise import Z_COLUMNS, no_z, z_columns
from harness.ranking.panel import FailedRule, InvalidRanking, Panel, judged, panel
from harness.ranking.standing import Standing, mean_rank, standing, tie_groups

OVERALL = "overall"
SCHEMA = pl.Schema(
    {
        "study": pl.String(),
        "group": pl.String(),
        "metric": pl.String(),
        "method": pl.String(),
        "config": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "rank": pl.Float64(),
        "rank_low": pl.Float64(),
        "rank_high": pl.Float64(),
        "tie_group": pl.Int32(),
        "coverage": pl.Float64(),
        "status": pl.String(),
        "cells": pl.Int64(),
        "seeds": pl.Int64(),
        "g1": pl.Int64(),
        "g2": pl.Int64(),
        "g3": pl.Int64(),
        "g_failed": pl.Int64(),
        "group_rank": pl.Float64(),
        "z": pl.Float64(),
        "z_low": pl.Float64(),
        "z_high": pl.Float64(),
    }
)

# Whole numbers that may be missing, NaN until the very end.
_NULLABLE = dict.fromkeys(("tie_group", *COLUMNS), pl.Float64())

Columns = dict[str, Floats]


def rank(
    values: pl.DataFrame,
    *,
    study: str,
    metrics: Sequence[str] = ("retention_deviation", "indiscernibility_val"),
    also: Sequence[str] = ("run_time_efficiency",),
    usable: pl.DataFrame | None = None,
    failed: FailedRule = "any",
    groups: GroupRule = "average_linkage",
    draws: int = 10_000,
    seed: int = 0,
) -> pl.DataFrame:
    """Rank the methods of a study and return the `rankings` table.

    `values` is the long frame of `harness.metrics.derive`, `usable` that of `harness.metrics.usable`;
    without it a trial is usable if its status is `done`. A competitor is a (method, config); configs
    `search:<id>` count as one, `search`. A cell is dataset x scenario x architecture. The groups are
    `overall`, and each architecture and each data set where there are several. `cells` is the number of
    cells of the group, `seeds` the largest number of seeds in one of them. With `cells` = 1 only seeds are
    resampled: intervals speak of that cell alone.

    * `value`: the mean over cells of the mean over seeds. `low`, `high`: its 95 % interval under the paired
      hierarchical bootstrap, widened for few replicates (`Resample.widening`); null if no cell has two
      seeds, for one seed says nothing about spread.
    * `rank`: by value, in the direction of the metric's definition; ties share the mean of their places. A
      `closest` metric ranks by the mean distance from its reference. `rank_low`, `rank_high`: the 2.5 and
      97.5 % percentiles of the rank over the draws.
    * `tie_group`: the best method opens group 1, and every method joins it whose paired difference to that
      best one has a 95 % interval that contains 0, or that shares too few trials with it for an interval.
      Where several share the best value, one of them is enough. The best of the others opens group 2 in
      the same way, and so on. So a noisy method may be in a better group than a steadier one of better
      value. The intervals are not adjusted for their number. Null where `low` is.
    * `coverage`: the share of the group's (cell, seed) pairs for which the method has a usable value. Means
      are over what is there, so below 1 they flatter a method that fails where the task is hard.
    * `status`: `failed` if `any` trial of the method in the group, or the `majority`, is unusable: it has no
      rank. `reference` for retrain and original: valued, never ranked. `missing` for a method that did not
      fail but has no value. Else `ranked`.
    * `g1`, `g2`, `g3`, `g_failed`: in how many cells of the group the method is in G1 (best), G2, G3 and Failed (the
      rule `failed` in that cell alone), by its mean over seeds and the rule `groups` (`harness.ranking.groups.divide`).
      `group_rank`: the rank by these numbers in turn. So a method that failed in one cell has one.

    * `z`: (mean over seeds - retrain's mean) in retrain's standard deviations, mean over cells; `z_low`, `z_high` its
      95 % limits (`harness.metrics.in_retrain_sd`). Null where a cell has none.

    The metric `overall` is the mean of the ranks on `metrics`, resampled and ranked in the same way, for
    methods that are ranked on all of them; it has neither groups nor z. Those in `also` are ranked by themselves.

    Raises UnknownMetric for a metric without definition; InvalidRanking for repeated or unjudged trials, no
    metric, or an unknown rule for failed methods; UnknownGroupRule.
    """
    if not metrics:
        raise InvalidRanking("no metric to rank by; name at least one")
    if failed not in get_args(FailedRule):
        raise InvalidRanking(f"unknown rule {failed!r} for failed methods; known: any, majority")
    check_rule(groups)
    if not values.height:
        return pl.DataFrame(schema=SCHEMA)
    combined, every = tuple(dict.fromkeys(metrics)), tuple(dict.fromkeys((*metrics, *also)))
    whole = panel(values, every, usable)
    spread = in_retrain_sd(judged(values.filter(pl.col("metric").is_in(every)), usable))  # trials have many others
    tables = [
        _rank_group(part, combined, failed, groups, resample(part.grid, draws=draws, seed=seed), spread)
        for part in whole.groups()
    ]
    return pl.concat(tables).select(pl.lit(study).alias("study"), pl.all()).cast(SCHEMA)


def _rank_group(
    part: Panel,
    combined: Sequence[str],
    rule: FailedRule,
    groups: GroupRule,
    resampled: Resample,
    spread: pl.DataFrame,
) -> pl.DataFrame:
    failed = part.failed(rule)
    ranked = ~(failed | part.references)
    standings = {
        metric: standing(np.where(ranked, losses, np.nan), resampled) for metric, losses in part.losses.items()
    }
    overall = mean_rank([standings[metric] for metric in combined])
    tables = [_table(part, OVERALL, overall, failed, _overall_columns(part, combined, overall))]
    for metric, one in standings.items():
        columns = _value_columns(part.values[metric], part.grid, resampled)
        columns |= group_columns(part.losses[metric], part.failed_in_cells(rule), ~part.references, groups)
        columns |= z_columns(part, metric, spread)
        tables.append(_table(part, metric, one, failed, columns))
    return pl.concat(tables)


def _value_columns(values: Floats, grid: Bools, resampled: Resample) -> Columns:
    low, high = _known(has_replicates(values), *interval(resampled.means(values)))
    coverage = _coverage(~np.isnan(values), grid)
    return {"value": hierarchical_mean(values), "low": low, "high": high, "coverage": coverage}


def _overall_columns(part: Panel, combined: Sequence[str], overall: Standing) -> Columns:
    low, high = _known(overall.known, *interval(overall.draws))
    present = np.all([~np.isnan(part.values[metric]) for metric in combined], axis=0)
    columns = {"value": overall.scores, "low": low, "high": high, "coverage": _coverage(present, part.grid)}
    return columns | no_group_columns(len(part.competitors)) | no_z(len(part.competitors))


def _coverage(present: Bools, grid: Bools) -> Floats:
    return np.asarray((present & grid[..., None]).sum(axis=(0, 1)) / max(1, grid.sum()))


def _known(known: Bools, *columns: Floats) -> list[Floats]:
    return [np.where(known, column, np.nan) for column in columns]


def _table(part: Panel, metric: str, own: Standing, failed: Bools, columns: Columns) -> pl.DataFrame:
    rank_low, rank_high = _known(own.known, *interval(own.rank_draws))
    status = np.where(np.isnan(own.ranks), "missing", "ranked")
    status = np.where(part.references, "reference", np.where(failed, "failed", status))
    table = pl.DataFrame(
        {
            "group": [part.group] * len(part.competitors),
            "metric": [metric] * len(part.competitors),
            "method": [method for method, _ in part.competitors],
            "config": [config for _, config in part.competitors],
            "value": columns["value"],
            "low": columns["low"],
            "high": columns["high"],
            "rank": own.ranks,
            "rank_low": rank_low,
            "rank_high": rank_high,
            "tie_group": tie_groups(own),
            "coverage": columns["coverage"],
            "status": status.tolist(),
            "cells": [len(part.cells)] * len(part.competitors),
            "seeds": [int(part.grid.sum(axis=1).max(initial=0))] * len(part.competitors),
            **{name: columns[name] for name in (*COLUMNS, *Z_COLUMNS)},
        },
        schema={name: _NULLABLE.get(name, kind) for name, kind in SCHEMA.items() if name != "study"},
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None)).sort("rank", "method", "config", nulls_last=True)
