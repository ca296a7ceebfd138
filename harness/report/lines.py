"""One number of every method by epoch, a line each: accuracies, what retain is ahead of forget, the reversal scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from harness.metrics import RETRAIN
from harness.ranking import merge_searches
from harness.report.ends import LINE, TEXT, name_ends
from harness.report.numbers import fixed, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.rows import head
from harness.report.scales import Scale, span
from harness.report.sheet import Panel, Sheet

WIDTH, LEFT, RIGHT, TOP, HEIGHT, FOOT = 430.0, 40.0, 268.0, 46.0, 190.0, 38.0
MOST_LINES = 16
"""More methods than that in one picture can no longer be told apart."""

GAP, REVERSAL = "gap", "reversal_scale"
"""Columns of the frames; the last is also the name in the table `traces`."""
ACCURACIES = {
    "forget": "forget accuracy",
    "retain": "retain accuracy",
    GAP: "retain accuracy - forget accuracy",
    "val": "val accuracy",
}
"""What is drawn of the table `epochs`, and under which title."""

KEY = ("method", "config", "epoch")


@dataclass(frozen=True)
class Moving:
    """One competitor's number by epoch: (epoch, mean over seeds)."""

    entry: Entry
    line: list[tuple[float, float]]

    @property
    def words(self) -> str:
        """The first and the last value."""
        return f"{self.entry.label} from {fixed(self.line[0][1], 3)} to {fixed(self.line[-1][1], 3)}"


def accuracies(epochs: pl.DataFrame) -> pl.DataFrame:
    """Return method, config, epoch and the columns of `ACCURACIES`, means over seeds; `epochs` is that table."""
    rows = merge_searches(epochs).filter(pl.col("kind").is_in(["unlearn", RETRAIN]))
    rows = rows.with_columns((pl.col("retain") - pl.col("forget")).alias(GAP))
    return rows.group_by(KEY).agg(pl.col(name).cast(pl.Float64).mean() for name in ACCURACIES).sort(KEY)


def reversals(traces: pl.DataFrame) -> pl.DataFrame:
    """Return method, config, epoch and `reversal_scale`, means over seeds; `traces` is that table.

    The scale at epoch k is that of the k-th epoch of unlearning: there is none at 0.
    """
    rows = merge_searches(traces).filter(pl.col("name") == REVERSAL)
    return rows.group_by(KEY).agg(pl.col("values").list.first().cast(pl.Float64).mean().alias(REVERSAL)).sort(KEY)


def movers(rows: pl.DataFrame, roster: Roster) -> list[Entry]:
    """Return whose lines can be drawn: methods with an epoch beyond 0 that did not fail.

    A method that failed would stretch the scale for all others.
    """
    moved = roster.among(rows.filter(pl.col("epoch") > 0))
    return [entry for entry in moved if not entry.is_reference and entry.status != "failed"]


def line_panel(rows: pl.DataFrame, column: str, title: str, roster: Roster, level: float | None) -> list[Panel]:
    """Return a panel with a line for each of the `movers`, or none where the column is not known of any.

    `level` is that of retrain, drawn as a dashed line if it is known.
    """
    known = rows.drop_nulls(column)
    drawn = [_moving(known, column, entry) for entry in movers(known, roster)]
    if not drawn:
        return []
    named = [] if level is None else [(entry, level) for entry in roster if entry.method == RETRAIN]
    values = [value for one in drawn for _, value in one.line] + [value for _, value in named]
    bottom = TOP + max(HEIGHT, LINE * (len(drawn) + len(named)))
    across = Scale(0, max(one.line[-1][0] for one in drawn), LEFT, RIGHT)
    upwards = Scale(*(span(values) or (0.0, 1.0)), bottom, TOP)
    told = [*(one.words for one in drawn), *(f"{entry.label} at {fixed(value, 3)}" for entry, value in named)]
    draw = partial(_draw, title=title, drawn=drawn, named=named, across=across, upwards=upwards)
    return [Panel(WIDTH, bottom + FOOT, f"{title}: {', '.join(told)}.", draw)]


def ended(rows: pl.DataFrame, column: str) -> float | None:
    """Return where retrain's line ends."""
    own = rows.filter(pl.col("method") == RETRAIN).drop_nulls(column).sort("epoch")
    return float(own[column][-1]) if own.height else None


def _moving(rows: pl.DataFrame, column: str, entry: Entry) -> Moving:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config).sort("epoch")
    return Moving(entry, own.select("epoch", column).rows())


def _draw(
    sheet: Sheet,
    title: str,
    drawn: Sequence[Moving],
    named: Sequence[tuple[Entry, float]],
    across: Scale,
    upwards: Scale,
) -> None:
    head(sheet, title, "", "mean over seeds; dashed: retrain" if named else "mean over seeds")
    _draw_axes(sheet, across, upwards)
    for _, level in named:
        sheet.lines([[(LEFT, upwards(level)), (RIGHT, upwards(level))]], INK.light, 1, (3, 3))
    for one in drawn:
        placed = [(across(epoch), upwards(value)) for epoch, value in one.line]
        sheet.lines([placed], one.entry.colour, 1.6)
        sheet.marks(placed[-1:], one.entry.marker, 5, one.entry.colour)
    ends = [(entry, (RIGHT, upwards(level))) for entry, level in named]
    ends += [(one.entry, (across(one.line[-1][0]), upwards(one.line[-1][1]))) for one in drawn]
    name_ends(sheet, ends, RIGHT, WIDTH, upwards)


def _draw_axes(sheet: Sheet, across: Scale, upwards: Scale) -> None:
    marks = upwards.ticks(30)
    sheet.lines([[(LEFT, upwards(one)), (RIGHT, upwards(one))] for one in marks], RULE.light, 0.5)
    for one in marks:
        sheet.text((LEFT - 5, upwards(one) + 4), tick(one), MUTED.light, "right", TEXT)
    sheet.line((LEFT, upwards.start), (RIGHT, upwards.start), RULE.light)
    for one in (mark for mark in across.ticks(26) if mark == int(mark)):
        sheet.line((across(one), upwards.start), (across(one), upwards.start + 4), RULE.light)
        sheet.text((across(one), upwards.start + 15), tick(one), MUTED.light, "center", TEXT)
    sheet.text((RIGHT, upwards.start + 30), "epoch", MUTED.light, "right", TEXT)
