"""Every number of one cell in units of retrain's noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.metrics import IN_SD, LIKENESS_METRICS, RETRAIN
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.context import Context
from harness.report.data import Cell, in_cell
from harness.report.meanings import arrow, in_order, sentence
from harness.report.numbers import NONE, bracket, fixed

CAPTION = (
    "Every number in units of retrain's noise: z = (mean over seeds minus retrain's mean) / retrain's deviation "
    "over {seeds} seeds, 95 % interval in brackets. A single retrain lies within about ±2; where the interval has 0, "
    "these seeds cannot tell the method from retrain"
)
FEW_SEEDS = "; with so few seeds retrain's spread is hardly known, hence the wide intervals"
FEW = 5
PLACES = 1


def noise_table(context: Context, cell: Cell) -> Table | None:
    """Return the table, in the order of the page's roster; None if no metric of the cell has a z."""
    own = in_cell(context.data.spread, cell)
    # Retrain's likeness is of pairs of retrains, each of which is in two of them: no spread of single ones.
    is_single = ~pl.col("metric").is_in(LIKENESS_METRICS)
    known = own.filter(is_single, pl.col("value").is_not_null(), pl.col("method") != RETRAIN)
    metrics = in_order(known["metric"].unique().to_list(), context.meanings)
    if not metrics or IN_SD not in context.meanings:
        return None
    retrain = in_cell(context.data.trials, cell).filter(pl.col("method") == RETRAIN)
    seeds = retrain["seed"].n_unique()
    found = {(row["method"], row["config"], row["metric"]): row for row in known.iter_rows(named=True)}
    rows = [
        Row(
            [TableCell(context.name(entry)), *(_number(found.get((*entry.competitor, one))) for one in metrics)],
            reference=entry.is_reference,
        )
        for entry in context.roster.among(known)
    ]
    meanings, best = [context.meanings[one] for one in metrics], arrow(context.meanings[IN_SD])
    columns = [Column(one.label, best, sentence(one), slug(one.metric)) for one in meanings]
    caption = CAPTION.format(seeds=seeds) + (FEW_SEEDS if seeds < FEW else "")
    return Table(caption, [Column("method", numeric=False), *columns], [Group(rows)], folded=True)


def _number(row: Mapping[str, Any] | None) -> TableCell:
    if row is None:
        return TableCell(NONE)
    return TableCell(fixed(row["value"], PLACES), bracket(row["low"], row["high"], PLACES), row["value"])
