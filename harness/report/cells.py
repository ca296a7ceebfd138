"""The table of one cell as the paper prints it: means over seeds, their standard deviations, the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.metrics import GAP_IN_SD
from harness.ranking import SHORT, known_metrics
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.context import Context
from harness.report.data import Cell, in_cell
from harness.report.meanings import arrow, sentence
from harness.report.numbers import NONE, decimals, fixed

CAPTION = "As the paper prints it: mean over seeds, ± standard deviation, group within this cell (G1 is best)"
NAMES = {**SHORT, GAP_IN_SD: "gap / sd"}

_STATUS = (("ranked", ""), ("missing", "without a value"), ("failed", "failed"), ("reference", "references"))


def cell_metrics(context: Context, cell: Cell) -> list[str]:
    """Return the defined metrics that some method has in a cell; the plain gap where no retention deviation is."""
    return [one for one in known_metrics(in_cell(context.data.cells, cell)) if one in context.meanings]


def cell_table(context: Context, cell: Cell) -> Table | None:
    """Return the table, in the order of the page's roster; None if nobody has a value in the cell."""
    rows, metrics = in_cell(context.data.cells, cell), cell_metrics(context, cell)
    if not metrics:
        return None
    digits = {one: decimals(rows[one], rows[f"{one}_sd"] if f"{one}_sd" in rows.columns else ()) for one in metrics}
    by_status = [(label, _rows(context, rows.filter(pl.col("status") == one), digits)) for one, label in _STATUS]
    groups = [Group(own, label, muted=label == "failed") for label, own in by_status if own]
    return Table(CAPTION, [Column("method", numeric=False), *_columns(context, metrics)], groups)


def _columns(context: Context, metrics: Sequence[str]) -> list[Column]:
    meanings = ((one, context.meanings[one]) for one in metrics)
    return [Column(NAMES[one], arrow(meaning), sentence(meaning), slug(one)) for one, meaning in meanings]


def _rows(context: Context, rows: pl.DataFrame, digits: Mapping[str, int]) -> list[Row]:
    found = {(row["method"], row["config"]): row for row in rows.iter_rows(named=True)}
    entries = [(entry, found[entry.competitor]) for entry in context.roster.among(rows)]
    return [
        Row(
            [TableCell(context.name(entry)), *(_number(row, metric, places) for metric, places in digits.items())],
            reference=entry.is_reference,
        )
        for entry, row in entries
    ]


def _number(row: Mapping[str, Any], metric: str, places: int) -> TableCell:
    if row[metric] is None:
        return TableCell(NONE, row.get(f"{metric}_group") or "")
    sd, group = row.get(f"{metric}_sd"), row.get(f"{metric}_group")
    # Retrain's ratio to itself has no spread, which is no finding.
    spread = "" if sd is None or (sd == 0 and row["status"] == "reference") else f"±{fixed(sd, places)}"
    return TableCell(fixed(row[metric], places), " ".join(part for part in (spread, group) if part), row[metric])
