"""The audit in numbers: every statistic beside the value that nothing at all would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.errors import printable
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.meanings import Meanings, arrow, sentence
from harness.report.numbers import NONE, bracket, decimals, fixed
from harness.report.roster import Roster

BESIDE_FLOOR = "forgetting_quality"
"""Printed beside F_null, which is far from 1 (Triantafillou et al. 2024, arXiv 2406.09073)."""

MINUS_FLOOR = ("klom", "klom_gaussian")
"""Printed minus their floor, which depends on the number of models (Georgiev et al. 2024, arXiv 2410.23232)."""

LOWER_BOUNDS = ("eps_cp", "eps_onerun")

_SETTING = ("pool", "null", "level")
_KEY = ("method", "config", "dataset", "architecture", *_SETTING)


def audit_table(attacks: pl.DataFrame, meanings: Meanings, roster: Roster) -> Table:
    """Return everything that was audited, one row for each method, place, pool, null and level."""
    attacks = _minus_floor(attacks)
    metrics = [metric for metric in meanings if metric in set(attacks["metric"])]
    places = {m: decimals(attacks.filter(pl.col("metric") == m)["value"]) for m in metrics}
    columns = [
        *(Column(name, numeric=False) for name in ("method", "where", *_SETTING)),
        *(_column(meanings, metric) for metric in metrics),
        Column("shadows"),
        Column("U / null", "observations"),
        Column("examples"),
        Column("flags", numeric=False),
    ]
    order = {entry.competitor: place for place, entry in enumerate(roster)}
    parts = attacks.sort(*_KEY).partition_by(_KEY, maintain_order=True)
    parts.sort(key=lambda part: order.get((part["method"][0], part["config"][0]), len(order)))
    rows = [_row(part, metrics, places, roster) for part in parts]
    return Table("The audit in numbers", columns, [Group(rows)], folded=True)


def _minus_floor(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with value and interval less the floor where it has to be so; null where it is not known."""
    lowered = pl.when(pl.col("metric").is_in(MINUS_FLOOR))
    return attacks.with_columns(
        lowered.then(pl.col(name) - pl.col("null_floor")).otherwise(name).alias(name)
        for name in ("value", "low", "high")
    )


def _column(meanings: Meanings, metric: str) -> Column:
    meaning = meanings[metric]
    less = ", minus its floor" if metric in MINUS_FLOOR else ""
    return Column(meaning.label, f"{meaning.unit} {arrow(meaning)}{less}", sentence(meaning), slug(metric))


def _row(part: pl.DataFrame, metrics: Sequence[str], places: Mapping[str, int], roster: Roster) -> Row:
    first = part.row(0, named=True)
    by_metric = {row["metric"]: row for row in part.iter_rows(named=True)}
    entry = roster[first["method"], first["config"]]
    cells = [TableCell(entry.label)]
    cells += [TableCell(printable(f"{first['dataset']} {first['architecture']}"))]
    cells += [TableCell(printable(str(first[name]))) for name in _SETTING]
    cells += [
        _cell(metric, by_metric[metric], places[metric]) if metric in by_metric else TableCell(NONE)
        for metric in metrics
    ]
    flags = sorted({flag for flag in part["flags"].drop_nulls() if flag})
    numbers = ((first["n"], first["n"]), (f"{first['k_u']} / {first['k_o']}", first["k_u"]))
    cells += [TableCell(str(text), value=value) for text, value in (*numbers, (first["examples"], first["examples"]))]
    return Row([*cells, TableCell(printable(", ".join(flags)))], reference=entry.is_reference)


def _cell(metric: str, row: Mapping[str, Any], places: int) -> TableCell:
    value, floor = row["value"], row["null_floor"]
    notes = [bracket(row["low"], row["high"], places)]
    text = fixed(value, places)
    if metric in (BESIDE_FLOOR, *MINUS_FLOOR):
        name = "F_null" if metric == BESIDE_FLOOR else "floor"
        if floor is None:
            return TableCell(NONE, f"{name} unknown")
        notes.append(f"{name} {fixed(floor, places)}")
        if metric == BESIDE_FLOOR and value is not None and floor > 0:
            notes.append(f"ratio {fixed(value / floor, 2)}")
    elif metric in LOWER_BOUNDS and value is not None:
        text, notes = (f"≥ {text}", notes) if value > 0 else ("0", ["none shown"])
    return TableCell(text, " · ".join(note for note in notes if note), value)
