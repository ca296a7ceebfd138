"""The table as the paper prints it: one row per method in each cell, means over seeds with their standard deviation."""

from __future__ import annotations

import numpy as np
import polars as pl

from harness.metrics import CELL, GAP_IN_SD, ORIGINAL, RETRAIN, gap_in_retrain_sd
from harness.ranking.groups import FAILED, GROUPS, GroupRule, check_rule, divide_cells
from harness.ranking.panel import COMPETITOR, REFERENCES, FailedRule, Panel, judged, panel

SHORT = {
    "accuracy_retain": "RA",
    "accuracy_forget": "FA",
    "accuracy_val": "VA",
    "accuracy_test": "TA",
    "retain_retention": "RR",
    "forget_retention": "FR",
    "test_retention": "TR",
    "retention_deviation": "RetDev",
    "gap_to_retrain": "gap",
    "indiscernibility_val": "Indisc(val)",
    "indiscernibility_test": "Indisc(test)",
    "population_mia_test": "T-MIA",
    "run_time_efficiency": "RTE",
}
"""The metrics of the table with the names that the paper gives them (`gap` is ours), in its order."""

GROUPED = ("retention_deviation", "gap_to_retrain", "indiscernibility_val", "indiscernibility_test")
"""Those in which the methods of a cell are divided into groups."""

GROUP_NAMES = {float(group): f"G{group}" for group in range(1, GROUPS + 1)} | {float(FAILED): "Failed"}

_KEY = (*CELL, *COMPETITOR)
CELLS_SCHEMA = pl.Schema(
    dict.fromkeys((*_KEY, "status"), pl.String())
    | {"seeds": pl.Int64()}
    | {f"{metric}{suffix}": pl.Float64() for metric in SHORT for suffix in ("", "_sd")}
    | {GAP_IN_SD: pl.Float64()}
    | {f"{metric}_group": pl.String() for metric in GROUPED}
)


def cell_table(
    values: pl.DataFrame,
    *,
    usable: pl.DataFrame | None = None,
    failed: FailedRule = "any",
    groups: GroupRule = "average_linkage",
) -> pl.DataFrame:
    """Return the table of `CELLS_SCHEMA`; arguments as for `harness.ranking.rank`.

    A metric's column is its mean over usable seeds, `<metric>_sd` the standard deviation over them (n - 1; null for
    one), `<metric>_group` its group within the cell: G1 (best), G2, G3 or Failed, null for the references. `seeds` is
    the number of usable trials. `status` is that of `rank`, in this cell alone. Within a cell the rows are sorted by
    retention deviation, then those that failed, then retrain and original.

    Raises InvalidRanking, UnknownGroupRule.
    """
    check_rule(groups)
    if not values.height:
        return pl.DataFrame(schema=CELLS_SCHEMA)
    rows = judged(values, usable)
    table = _trials(rows).join(_means(rows), on=_KEY, how="left")
    gaps = gap_in_retrain_sd(rows).select(*_KEY, pl.col("value").alias(GAP_IN_SD))
    part = panel(values, GROUPED, usable)
    table = table.join(gaps, on=_KEY, how="left").join(_groups(part, failed, groups), on=_KEY, how="left")
    missing = [
        pl.lit(None, dtype=CELLS_SCHEMA[name]).alias(name)
        for name in CELLS_SCHEMA
        if name not in (*table.columns, "status")
    ]
    table = table.with_columns(missing).with_columns(status=_status(failed)).sort(_order())
    return table.select(CELLS_SCHEMA.names()).cast(CELLS_SCHEMA)


def known_metrics(rows: pl.DataFrame) -> list[str]:
    """Return the metrics that some row of the table has; the plain gap only where no retention deviation is defined."""
    known = [metric for metric in (*SHORT, GAP_IN_SD) if rows[metric].null_count() < rows.height]
    return [metric for metric in known if metric != "gap_to_retrain" or "retention_deviation" not in known]


def _trials(rows: pl.DataFrame) -> pl.DataFrame:
    trials = rows.group_by(*_KEY, "seed").agg(pl.col("usable").all())
    return trials.group_by(_KEY).agg(seeds=pl.col("usable").sum(), trials=pl.len())


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    wanted = rows.filter(pl.col("metric").is_in(list(SHORT))).sort(*_KEY, "metric", "seed")
    value = pl.col("value")
    found = wanted.group_by(*_KEY, "metric", maintain_order=True).agg(value.mean(), value.std(ddof=1).alias("sd"))
    wide = found.pivot(on="metric", index=_KEY, values=["value", "sd"])
    return wide.rename({name: _column(name) for name in wide.columns if name not in _KEY})


def _column(name: str) -> str:
    """Return `<metric>` or `<metric>_sd` for what a pivot of two columns calls `value_<metric>` and `sd_<metric>`."""
    kind, _, metric = name.partition("_")
    return metric if kind == "value" else f"{metric}_sd"


def _groups(part: Panel, rule: FailedRule, groups: GroupRule) -> pl.DataFrame:
    ran, failed = part.ran.any(axis=1), part.failed_in_cells(rule)
    keys = [(*part.cells[cell], *part.competitors[who]) for cell, who in np.argwhere(ran)]
    table = pl.DataFrame(keys, schema=dict.fromkeys(_KEY, pl.String()), orient="row")
    for metric in GROUPED:
        losses = np.where(part.references, np.nan, part.losses[metric])
        own = divide_cells(losses, failed, groups)[ran]
        names = pl.Series(f"{metric}_group", [GROUP_NAMES.get(group) for group in own], dtype=pl.String())
        table = table.with_columns(names)
    return table


def _status(rule: FailedRule) -> pl.Expr:
    lost = pl.col("trials") - pl.col("seeds").cast(pl.Int64)
    failed = lost > 0 if rule == "any" else 2 * lost > pl.col("trials")
    return (
        pl.when(pl.col("method").is_in(REFERENCES))
        .then(pl.lit("reference"))
        .when(failed)
        .then(pl.lit("failed"))
        .when(pl.all_horizontal(pl.col(metric).is_null() for metric in SHORT))
        .then(pl.lit("missing"))
        .otherwise(pl.lit("ranked"))
    )


def _order() -> list[pl.Expr]:
    stage = pl.col("status").replace_strict({"ranked": 0, "missing": 1, "failed": 2}, default=3, return_dtype=pl.Int8)
    reference = pl.col("method").replace_strict({RETRAIN: 0, ORIGINAL: 1}, default=-1, return_dtype=pl.Int8)
    deviation = pl.coalesce(pl.col("retention_deviation"), pl.col("gap_to_retrain")).fill_null(float("inf"))
    return [*map(pl.col, CELL), stage, reference, deviation, pl.col("method"), pl.col("config")]
