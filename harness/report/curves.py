"""How accuracy moves while a method unlearns: a panel per method, seeds as thin lines, means as thick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from harness.metrics import CELL, RETRAIN
from harness.ranking import merge_searches
from harness.report.numbers import fixed, several, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster, make_roster
from harness.report.scales import Scale, span, spread
from harness.report.sheet import GAP, Panel, Point, Sheet, compose, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("forget", "retain", "test")
WIDTH, HEIGHT = 250.0, 168.0
LEFT, RIGHT, TOP, BOTTOM = 32.0, 196.0, 30.0, 142.0
TEXT = 10.5

Line = list[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """The curves of one competitor: by part, a line (epoch, accuracy) for each run and one for their mean."""

    entry: Entry
    runs: dict[str, list[Line]]
    means: dict[str, Line]

    @property
    def points(self) -> list[tuple[float, float]]:
        """All points of all runs."""
        return [point for lines in self.runs.values() for line in lines for point in line]

    @property
    def words(self) -> str:
        """From where to where each mean goes."""
        moves = [
            f"{part} accuracy from {fixed(line[0][1], 3)} to {fixed(line[-1][1], 3)}"
            for part, line in self.means.items()
            if line
        ]
        return f"{self.entry.label}, {several(int(self.last), 'epoch')}: {', '.join(moves)}."

    @property
    def last(self) -> float:
        """The last epoch of any run."""
        return max((epoch for epoch, _ in self.points), default=0.0)


@dataclass(frozen=True)
class ErrorScale:
    """Maps accuracies to pixels by the square root of the error: what differs near 1 stays apart."""

    lowest: float
    highest: float

    @property
    def _errors(self) -> Scale:
        return Scale(1 - self.highest, 1 - self.lowest, TOP, BOTTOM, root=True)

    def __call__(self, accuracy: float) -> float:
        """Return the pixel of an accuracy."""
        return self._errors(1 - accuracy)

    def ticks(self, room: float) -> list[float]:
        """Return round accuracies at least `room` pixels apart."""
        return [round(1 - error, 9) for error in self._errors.ticks(room)]


def curves_figure(epochs: pl.DataFrame, *, columns: int = 4) -> Figure:
    """Return a figure of the accuracies on forget, retain and test by epoch, one panel per method.

    `epochs` is that table for one cell. Dashed lines are the final levels of retrain, measured on the same
    images.
    """
    return compose(curve_panels(epochs, make_roster(epochs)), columns, GAP)


def curve_panels(epochs: pl.DataFrame, roster: Roster) -> list[Panel]:
    """Return one panel for each method with an epoch beyond 0.

    They share one scale of accuracy, but for methods that failed: these have their own, and say so.
    """
    rows = merge_searches(epochs).filter(pl.col("kind").is_in(["unlearn", RETRAIN]))
    curves = [_curves(rows, entry) for entry in roster.among(rows)]
    levels = next((_levels(one) for one in curves if one.entry.method == RETRAIN), {})
    drawn = [one for one in curves if one.last > 0 and one.entry.method != RETRAIN]
    shared = _extent([one for one in drawn if one.entry.status != "failed"], levels)
    panels = []
    for one in drawn:
        failed = one.entry.status == "failed"
        extent = _extent([one], levels) if failed else shared
        note = "failed; own scale" if failed else ""
        panels.append(
            Panel(WIDTH, HEIGHT, one.words, partial(_draw, curves=one, levels=levels, extent=extent, note=note))
        )
    return panels


def has_curves(epochs: pl.DataFrame) -> set[tuple[str, str]]:
    """Return the competitors of which a curve can be drawn: those with an epoch beyond 0."""
    rows = merge_searches(epochs).filter(pl.col("epoch") > 0)
    return {(method, config) for method, config in rows.select("method", "config").unique().rows()}


def _curves(rows: pl.DataFrame, entry: Entry) -> Curves:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config).sort(*CELL, "seed", "epoch")
    runs: dict[str, list[Line]] = {}
    means: dict[str, Line] = {}
    for part in PARTS:
        known = own.filter(pl.col(part).is_finite())
        by_run = known.partition_by("unit", maintain_order=True)
        runs[part] = [[(epoch, value) for epoch, value in run.select("epoch", part).rows()] for run in by_run]
        averaged = known.group_by("epoch").agg(pl.col(part).mean()).sort("epoch")
        means[part] = [(epoch, value) for epoch, value in averaged.rows()]
    return Curves(entry, runs, means)


def _extent(drawn: Sequence[Curves], levels: Mapping[str, float]) -> tuple[float, float]:
    low, high = span([value for one in drawn for _, value in one.points] + list(levels.values())) or (
        0.0,
        1.0,
    )
    return low, min(1.0, high)


def _levels(retrain: Curves) -> dict[str, float]:
    return {part: line[-1][1] for part, line in retrain.means.items() if line}


def _draw(sheet: Sheet, curves: Curves, levels: Mapping[str, float], extent: tuple[float, float], note: str) -> None:
    x, y = Scale(0, curves.last, LEFT, RIGHT), ErrorScale(*extent)
    entry = curves.entry
    sheet.marks([(LEFT - 2, 9)], entry.marker, 8, entry.colour)
    sheet.text((LEFT + 7, 13), shortened(entry.label, WIDTH - LEFT - 20, 12.5), bold=True, size=12.5)
    sheet.text((LEFT, TOP - 4), note, MUTED.light, size=TEXT)
    _draw_axes(sheet, x, y)
    colours = dict(zip(PARTS, (entry.colour, INK.light, MUTED.light), strict=True))
    for part, level in levels.items():
        sheet.lines([[(LEFT, y(level)), (RIGHT, y(level))]], colours[part], 1, (3, 3))
    for part in reversed(PARTS):
        sheet.lines([_placed(line, x, y) for line in curves.runs[part]], colours[part], 0.6)
        sheet.lines([_placed(curves.means[part], x, y)], colours[part], 2.2 if part == "forget" else 1.4)
    _name_lines(sheet, curves, y, colours)


def _draw_axes(sheet: Sheet, x: Scale, y: ErrorScale) -> None:
    sheet.lines([[(LEFT, BOTTOM + 3), (RIGHT, BOTTOM + 3)], [(LEFT - 3, TOP), (LEFT - 3, BOTTOM)]], RULE.light)
    for one in y.ticks(24):
        sheet.text((LEFT - 7, y(one) + 3.5), tick(one), MUTED.light, "right", TEXT - 0.5)
    whole = [one for one in x.ticks(22) if one == int(one)]
    for one in whole:
        sheet.text((x(one), BOTTOM + 15), tick(one), MUTED.light, "center", TEXT - 0.5)
    sheet.text((RIGHT + 12, BOTTOM + 15), "epoch", MUTED.light, size=TEXT - 0.5)


def _placed(line: Line, x: Scale, y: ErrorScale) -> list[Point]:
    return [(x(epoch), y(value)) for epoch, value in line]


def _name_lines(sheet: Sheet, curves: Curves, y: ErrorScale, colours: dict[str, str]) -> None:
    """Write each part's name at the end of its mean, moved so that names do not overlap."""
    named = [part for part in PARTS if curves.means[part]]
    ends = spread([y(curves.means[part][-1][1]) for part in named], 12)
    for part, end in zip(named, ends, strict=True):
        is_forget = part == "forget"
        colour = INK.light if is_forget else colours[part]
        sheet.text((RIGHT + 8, end + 3.5), part, colour, size=TEXT, bold=is_forget)
