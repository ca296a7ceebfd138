"""The audit by the number of shadows: one panel per pool and null, the AUC of every method beside what is expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from harness.errors import printable
from harness.report.data import PLACE, in_panels
from harness.report.ends import LINE, TEXT, name_ends
from harness.report.numbers import fixed, tick
from harness.report.palette import BAND, INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.rows import head
from harness.report.scales import Scale, span
from harness.report.sheet import Panel, Point, Sheet

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 430.0, 34.0, 268.0, 46.0, 220.0
FOOT = 38.0
GUESSING = 0.5
INK_OF_BANDS, FAINTEST = 0.45, 0.03
"""All bands together are about so opaque: where nothing is found they lie on each other."""

_PANEL = (*PLACE, "pool", "null")

Line = list[tuple[float, float]]


@dataclass(frozen=True)
class Growth:
    """The AUC of one competitor by the number of shadows: found, with its interval (n, low, high), and expected."""

    entry: Entry
    line: Line
    band: list[tuple[float, float, float]]
    expected: Line

    @property
    def words(self) -> str:
        """The first and the last value."""
        (first, start), (last, end) = self.line[0], self.line[-1]
        grown = f" from {fixed(start, 2)} at {first:g}" if last > first else ""
        return f"{self.entry.label}{grown} to {fixed(end, 2)} at {last:g}"


@dataclass(frozen=True)
class Axes:
    """Shadows across, in powers of two; the AUC upwards."""

    across: Scale
    upwards: Scale

    def __call__(self, n: float, auc: float) -> Point:
        """Return where a point lies."""
        return self.across(math.log2(n)), self.upwards(auc)


def growth_panels(growth: pl.DataFrame, roster: Roster) -> list[Panel]:
    """Return one panel for each place, pool and null with the AUC of all methods against the number of shadows.

    `growth` is a frame with the schema `harness.metrics.drawn.GROWTH`.
    """
    rows = growth.drop_nulls(["n", "value"]).filter(pl.col("n") > 0).sort(*_PANEL, "method", "config", "n")
    panels = []
    for where, (pool, null), own in in_panels(rows, "pool", "null"):
        curves = [_curve(own, entry) for entry in roster.among(own)]
        if curves:
            panels.append(_panel(printable(f"AUC by shadows, {where}{pool}, null {null}"), curves, _unseen(own)))
    return panels


def _curve(rows: pl.DataFrame, entry: Entry) -> Growth:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
    band = own.drop_nulls(["low", "high"]).select("n", "low", "high").rows()
    expected = own.drop_nulls("expected").select("n", "expected").rows()
    return Growth(entry, own.select("n", "value").rows(), band, expected)


def _unseen(rows: pl.DataFrame) -> Line:
    """Return (n, AUC): the smallest AUC that n shadows tell from 0.5, of the method for which it is largest."""
    known = rows.drop_nulls("detectable").group_by("n").agg(pl.col("detectable").max()).sort("n")
    return known.rows()


def _panel(title: str, curves: Sequence[Growth], unseen: Line) -> Panel:
    bottom = TOP + max(HEIGHT, LINE * len(curves))
    known = [auc for one in curves for _, auc in (*one.line, *one.expected)]
    ends = [end for one in curves for _, low, high in one.band for end in (low, high)]
    low, high = span([*known, *ends, GUESSING]) or (0.0, 1.0)
    counts = [math.log2(n) for one in curves for n, _ in one.line]
    axes = Axes(Scale(min(counts), max(counts), LEFT, RIGHT), Scale(max(low, 0.0), min(high, 1.0), bottom, TOP))
    words = f"{title}: {', '.join(one.words for one in curves)}."
    return Panel(WIDTH, bottom + FOOT, words, partial(_draw, title=title, curves=curves, unseen=unseen, axes=axes))


def _draw(sheet: Sheet, title: str, curves: Sequence[Growth], unseen: Line, axes: Axes) -> None:
    head(sheet, title, "", "line: found, dashed: expected; best at 0.5")
    edges = _edges(unseen, axes)
    if len(unseen) > 1:
        sheet.area([*edges[0], *reversed(edges[1])], BAND.light, 1.0)
    _draw_axes(sheet, curves, axes)
    opacity = max(FAINTEST, INK_OF_BANDS / max(3, len(curves)))
    for one in curves:
        upper = [axes(n, high) for n, _, high in one.band]
        lower = [axes(n, low) for n, low, _ in one.band]
        if len(upper) > 1:
            sheet.area([*upper, *reversed(lower)], one.entry.colour, opacity)
    sheet.lines(edges, MUTED.light, 1, (1, 2))
    for one in curves:
        sheet.lines([[axes(*point) for point in one.expected]], one.entry.colour, 0.9, (4, 3))
        sheet.lines([[axes(*point) for point in one.line]], one.entry.colour, 1.6)
        sheet.marks([axes(*point) for point in one.line], one.entry.marker, 5, one.entry.colour)
    name_ends(sheet, [(one.entry, axes(*one.line[-1])) for one in curves], RIGHT, WIDTH, axes.upwards)


def _edges(unseen: Line, axes: Axes) -> tuple[list[Point], list[Point]]:
    """Return both edges of what is too near to 0.5, as far as they lie in the panel."""
    cut = axes.upwards.cut
    upper = [axes(n, cut(auc)) for n, auc in unseen]
    return upper, [axes(n, cut(2 * GUESSING - auc)) for n, auc in unseen]


def _draw_axes(sheet: Sheet, curves: Sequence[Growth], axes: Axes) -> None:
    across, upwards = axes.across, axes.upwards
    sheet.lines([[(LEFT, upwards(one)), (RIGHT, upwards(one))] for one in upwards.ticks(30)], RULE.light, 0.5)
    sheet.lines([[(LEFT, upwards(GUESSING)), (RIGHT, upwards(GUESSING))]], INK.light, 1, (3, 3))
    for one in upwards.ticks(30):
        sheet.text((LEFT - 5, upwards(one) + 4), tick(one), MUTED.light, "right", TEXT)
    sheet.line((LEFT, upwards.start), (RIGHT, upwards.start), RULE.light)
    for n in sorted({n for one in curves for n, _ in one.line}):
        x = across(math.log2(n))
        sheet.line((x, upwards.start), (x, upwards.start + 4), RULE.light)
        sheet.text((x, upwards.start + 15), tick(n), MUTED.light, "center", TEXT)
    sheet.text((RIGHT, upwards.start + 30), "shadows", MUTED.light, "right", TEXT)
