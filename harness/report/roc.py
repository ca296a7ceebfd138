"""The audit at every threshold: one panel per pool and null, one ROC per method, on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from harness.errors import printable
from harness.report.audit import HEADLINE
from harness.report.data import PLACE, in_panels
from harness.report.numbers import fixed, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.rows import head
from harness.report.scales import Scale, spread_within
from harness.report.sheet import Panel, Point, Sheet, shortened

LOWEST, NAMED = 0.001, 0.01
"""Lower end of both axes, and the false-positive rate at which the words give each method's rate."""

TICKS = (0.001, 0.01, 0.1, 1.0)
WIDTH, LEFT, RIGHT, TOP, HEIGHT = 430.0, 176.0, 396.0, 42.0, 236.0
TEXT, LINE, FOOT = 11.0, 14.0, 38.0
OPACITY = 0.09

_PANEL = (*PLACE, "pool", "null")
_CURVE = ("method", "config", *_PANEL)


@dataclass(frozen=True)
class Roc:
    """The curve of one competitor: (fpr, tpr), and as far as intervals are known (fpr, low, high)."""

    entry: Entry
    line: list[tuple[float, float]]
    band: list[tuple[float, float, float]]

    @property
    def named(self) -> float | None:
        """The true-positive rate at the false-positive rate `NAMED`."""
        return next((tpr for fpr, tpr in self.line if math.isclose(fpr, NAMED)), None)


@dataclass(frozen=True)
class Axes:
    """Both logarithmic axes; what lies below `LOWEST` is put on the edge."""

    bottom: float

    def __call__(self, fpr: float, tpr: float) -> Point:
        """Return where a point lies."""
        return self.across(fpr), self.upwards(tpr)

    def across(self, fpr: float) -> float:
        """Return the pixel of a false-positive rate."""
        return Scale(math.log10(LOWEST), 0.0, LEFT, RIGHT)(math.log10(max(fpr, LOWEST)))

    def upwards(self, tpr: float) -> float:
        """Return the pixel of a true-positive rate."""
        return Scale(math.log10(LOWEST), 0.0, self.bottom, TOP)(math.log10(max(tpr, LOWEST)))


def readable(roc: pl.DataFrame, attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the points at which at least one false positive is expected: fpr times negatives is 1 or more.

    The negatives are those of the audit's AUC: releases without an example, times examples. Curves of which
    they are not known are left out.
    """
    audited = attacks.filter(pl.col("level") == "L2", pl.col("metric") == HEADLINE)
    negatives = audited.group_by(_CURVE).agg((pl.col("k_o") * pl.col("examples")).min().alias("negatives"))
    known = roc.drop_nulls(["fpr", "tpr"]).join(negatives, on=_CURVE, how="inner")
    return known.filter(pl.col("fpr") * pl.col("negatives") > 1 - 1e-9).sort(*_PANEL, "method", "config", "fpr")


def roc_panels(roc: pl.DataFrame, attacks: pl.DataFrame, roster: Roster) -> list[Panel]:
    """Return one panel for each place, pool and null with the curves of all methods that were audited there.

    `roc` is a frame with the schema `harness.metrics.drawn.ROC`, `attacks` the table of that name.
    """
    rows = readable(roc, attacks)
    panels = []
    for where, (pool, null), own in in_panels(rows, "pool", "null"):
        curves = [_curve(own, entry) for entry in roster.among(own)]
        panels.append(_panel(printable(f"ROC, {where}{pool}, null {null}"), curves))
    return panels


def _curve(rows: pl.DataFrame, entry: Entry) -> Roc:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
    line = own.select("fpr", "tpr").rows()
    band = own.drop_nulls(["low", "high"]).select("fpr", "low", "high").rows()
    # Whoever accuses everybody misses nobody: each curve ends in the corner.
    return Roc(entry, [*line, (1.0, 1.0)], [*band, (1.0, 1.0, 1.0)] if band else [])


def _panel(title: str, curves: Sequence[Roc]) -> Panel:
    listed = ", ".join(f"{one.entry.label} {fixed(one.named, 3)}" for one in curves)
    bottom = TOP + max(HEIGHT, LINE * len(curves))
    words = f"{title}: true-positive rate at a false-positive rate of {NAMED:g}: {listed}."
    return Panel(WIDTH, bottom + FOOT, words, partial(_draw, title=title, curves=curves, axes=Axes(bottom)))


def _draw(sheet: Sheet, title: str, curves: Sequence[Roc], axes: Axes) -> None:
    head(sheet, title, "", "true-positive rate, best on the diagonal")
    _draw_axes(sheet, axes)
    for one in curves:
        upper = [axes(fpr, high) for fpr, _, high in one.band]
        lower = [axes(fpr, low) for fpr, low, _ in one.band]
        if upper:
            sheet.area([*upper, *reversed(lower)], one.entry.colour, OPACITY)
    sheet.lines([[axes(LOWEST, LOWEST), axes(1, 1)]], INK.light, 1, (3, 3))
    for one in curves:
        sheet.lines([[axes(*point) for point in one.line]], one.entry.colour, 1.6)
    _name_lines(sheet, curves, axes)


def _draw_axes(sheet: Sheet, axes: Axes) -> None:
    sheet.lines([[axes(LOWEST, one), axes(1, one)] for one in TICKS], RULE.light, 0.5)
    sheet.lines([[axes(LOWEST, LOWEST), axes(1, LOWEST), axes(1, 1)]], RULE.light)
    for one in TICKS:
        sheet.line(axes(one, LOWEST), (axes.across(one), axes.bottom + 4), RULE.light)
        sheet.text((axes.across(one), axes.bottom + 15), tick(one), MUTED.light, "center", TEXT)
        sheet.text((RIGHT + 5, axes.upwards(one) + 4), tick(one), MUTED.light, size=TEXT)
    sheet.text((RIGHT, axes.bottom + 30), "false-positive rate", MUTED.light, "right", TEXT)


def _name_lines(sheet: Sheet, curves: Sequence[Roc], axes: Axes) -> None:
    """Write each name left of where its line begins, moved so that names do not overlap or leave the panel."""
    starts = [axes(*one.line[0]) for one in curves]
    places = spread_within([y for _, y in starts], LINE, TOP, axes.bottom)
    for one, start, y in zip(curves, starts, places, strict=True):
        mark = (LEFT - 11, y)
        sheet.lines([[(LEFT - 6, y), start]], one.entry.colour, 0.8, (1, 2))
        sheet.marks([mark], one.entry.marker, 6.5, one.entry.colour)
        name = shortened(one.entry.label, LEFT - 14, TEXT)
        sheet.text((LEFT - 18, y + 4), name, INK.light, "right", TEXT, bold=one.entry.is_reference)
