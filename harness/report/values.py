"""Tables of values: the ranking with its headline numbers, the other numbers, and ranks by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from markupsafe import Markup

from harness.errors import printable
from harness.ranking import OVERALL, counts_text
from harness.report.blocks import Column, Group, Row, Table, TableCell, slug
from harness.report.context import Context
from harness.report.forest import Estimates
from harness.report.meanings import Meanings, arrow, in_order, sentence
from harness.report.numbers import NONE, bracket, decimals, fixed, places
from harness.report.roster import Competitor, Entry, Roster
from harness.report.words import COVERAGE, RANK, TIES

Found = Mapping[str, Estimates]

RANKS = "Ranks by metric, with 95 % intervals"
COUNTS = "in small the number of cells in which the method is in G1/G2/G3/Failed (G1 is best)"

_GROUPS = (("", ("ranked",)), ("without a value", ("missing",)), ("failed", ("failed",)))


def ranking_table(context: Context, found: Found, metrics: Sequence[str], caption: str) -> Table:
    """Return rank, method, mean rank and headline numbers of every method; the references are set apart."""
    roster, meanings = context.roster, context.meanings
    own = context.data.rankings.filter(pl.col("group") == OVERALL, pl.col("metric") == OVERALL)
    rows = {(row["method"], row["config"]): row for row in own.iter_rows(named=True)}
    shown = [metric for metric in (OVERALL, *metrics) if metric in found and metric in meanings]
    digits = digits_of(found, shown)
    remarks = _remarks(own)

    def row(entry: Entry) -> Row:
        ranked = rows.get(entry.competitor, {})
        numbers = number_cells(entry, found, digits)
        remarked = [TableCell(write(ranked), value=ranked.get(name)) for name, (_, write) in remarks.items()]
        cells = [_rank(context, entry, ranked), TableCell(context.name(entry)), *numbers, *remarked]
        return Row(cells, reference=entry.is_reference)

    columns = [Column("rank", "", RANK, "rank"), Column("method", numeric=False), *metric_columns(shown, meanings)]
    heads = [column for column, _ in remarks.values()]
    return Table(caption, [*columns, *heads], _groups(roster, list(roster), row), header=1)


def _remarks(overall: pl.DataFrame) -> dict[str, tuple[Column, Callable[[Mapping[str, Any]], str]]]:
    """Return the columns that only some rankings need by their names there, and how each is written."""
    columns: dict[str, tuple[Column, Callable[[Mapping[str, Any]], str]]] = {}
    if overall["tie_group"].null_count() < overall.height:
        columns["tie_group"] = (Column("ties", "", TIES, "ties"), lambda row: str(row.get("tie_group") or ""))
    if overall.filter(pl.col("status") == "ranked", pl.col("coverage") < 1 - 1e-9).height:
        columns["coverage"] = (Column("coverage", "", COVERAGE, "coverage"), lambda row: fixed(row.get("coverage"), 2))
    return columns


def _rank(context: Context, entry: Entry, ranked: Mapping[str, Any]) -> TableCell:
    if entry.status != "ranked":
        return TableCell(NONE)
    text = places(ranked.get("rank"), ranked.get("rank_low"), ranked.get("rank_high"))
    return TableCell(Markup("{}{}").format(text, context.strip(entry)), value=ranked.get("rank"))


def value_table(context: Context, found: Found, metrics: Sequence[str], caption: str, folded: bool = False) -> Table:
    """Return the method and some numbers of it, a row each."""
    meanings, roster = context.meanings, context.roster
    shown = [metric for metric in metrics if metric in found and metric in meanings]
    digits = digits_of(found, shown)
    present = [entry for entry in roster if any(entry.competitor in found[metric] for metric in shown)]

    def row(entry: Entry) -> Row:
        return Row([TableCell(context.name(entry)), *number_cells(entry, found, digits)], reference=entry.is_reference)

    columns = [Column("method", numeric=False), *metric_columns(shown, meanings)]
    return Table(caption, columns, _groups(roster, present, row), folded=folded)


def rank_tables(context: Context) -> tuple[Table, list[Table]]:
    """Return the ranks by metric, and in a list those in each group of cells if there are groups."""
    ranked = context.data.rankings.filter(pl.col("rank").is_not_null())
    whole = ranked.filter(pl.col("group") == OVERALL)
    metrics = in_order(set(whole["metric"]), context.meanings)
    columns = [replace(column, note="rank") for column in metric_columns(metrics, context.meanings)]
    caption = RANKS if len(context.cells) < 2 else f"{RANKS}; {COUNTS}"
    by_metric = _rank_table(caption, whole, "metric", metrics, columns, context)
    own = ranked.filter(pl.col("metric") == OVERALL)
    groups = sorted(set(own["group"]) - {OVERALL})
    columns = [Column(printable(group), "rank") for group in groups]
    by_group = [_rank_table("Overall ranks by group of cells", own, "group", groups, columns, context)]
    return by_metric, by_group if groups else []


def _rank_table(
    caption: str,
    rows: pl.DataFrame,
    across: str,
    wanted: Sequence[str],
    columns: Sequence[Column],
    context: Context,
) -> Table:
    counted = len(context.cells) > 1  # of one cell the groups stand in its own table
    ranks = {
        (row[across], row["method"], row["config"]): TableCell(
            places(row["rank"], row["rank_low"], row["rank_high"]),
            (counted and counts_text(row)) or "",
            row["rank"],
        )
        for row in rows.iter_rows(named=True)
    }
    lines = [
        Row(
            [
                TableCell(context.name(entry)),
                *(ranks.get((one, *entry.competitor), TableCell(NONE)) for one in wanted),
            ]
        )
        for entry in context.roster.among(rows)
    ]
    return Table(caption, [Column("method", numeric=False), *columns], [Group(lines)])


def _groups(roster: Roster, present: Sequence[Entry], row: Callable[[Entry], Row]) -> list[Group]:
    kept: set[Competitor] = {entry.competitor for entry in present}
    groups = []
    for label, status in _GROUPS:
        entries = [e for e in roster.of_status(*status) if e.competitor in kept and not e.is_reference]
        groups.append(Group([row(entry) for entry in entries], label, muted=bool(label)))
    references = [entry for entry in present if entry.is_reference]
    groups.append(Group([row(entry) for entry in references], "references, not ranked"))
    return [group for group in groups if group.rows]


def metric_columns(metrics: Sequence[str], meanings: Meanings) -> list[Column]:
    """Return a column for each of some defined metrics."""
    return [
        Column(one.label, f"{one.unit} {arrow(one)}", sentence(one), slug(one.metric))
        for one in (meanings[metric] for metric in metrics)
    ]


def digits_of(found: Found, metrics: Sequence[str]) -> dict[str, int]:
    """Return with how many decimals each of some metrics is written."""
    return {
        metric: decimals((e.value for e in found[metric].values()), (e.half for e in found[metric].values()))
        for metric in metrics
    }


def number_cells(entry: Entry, found: Found, digits: Mapping[str, int]) -> list[TableCell]:
    """Return the mean and interval of one method by each metric of `digits`."""
    cells = []
    for metric, number in digits.items():
        estimate = found[metric].get(entry.competitor)
        if estimate is None:
            cells.append(TableCell(NONE))
        else:
            # Retrain's ratio to itself has no spread, which is no finding.
            own = entry.is_reference and estimate.low == estimate.high
            note = "" if own else bracket(estimate.low, estimate.high, number)
            cells.append(TableCell(fixed(estimate.value, number), note, estimate.value))
    return cells
