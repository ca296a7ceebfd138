"""Values by method: the mean, its interval, and every seed as a dot, against retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from harness.metrics import RETRAIN, Definition
from harness.report.meanings import better, most, named, read_meanings
from harness.report.numbers import decimals, fixed
from harness.report.palette import BAND, INK
from harness.report.roster import Competitor, Entry, Roster, make_roster
from harness.report.rows import HEAD, WIDTH, Rows, axis, head
from harness.report.scales import Scale, bounded, is_skewed, span
from harness.report.sheet import GAP, Panel, Sheet, compose
from harness.report.summary import dots, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval if it is known, and the single values that it is the mean of."""

    value: float
    low: float | None
    high: float | None
    dots: tuple[float, ...] = ()

    @property
    def seen(self) -> tuple[float, ...]:
        """The mean and the single values."""
        return self.value, *self.dots

    @property
    def extent(self) -> tuple[float | None, ...]:
        """All its numbers."""
        return self.value, self.low, self.high, *self.dots

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


LEFT, RIGHT = "\u2039", "\u203a"
"""Say that a value lies beyond the scale."""

Estimates = Mapping[Competitor, Estimate]


def forest_figure(
    trials: pl.DataFrame, definitions: pl.DataFrame, metrics: Sequence[str], *, columns: int = 3
) -> Figure:
    """Return a figure of some metrics of the trials: mean, interval and every seed of each method.

    With several cells in `trials` a dot is the mean of one cell.
    """
    meanings, roster = read_meanings(definitions), make_roster(trials)
    found = estimates(summarise(trials, metrics), dots(trials))
    drawn = [metric for metric in metrics if metric in found and metric in meanings]
    return compose([forest_panel(found[metric], meanings[metric], roster) for metric in drawn], columns, GAP)


def estimates(values: pl.DataFrame, single: pl.DataFrame) -> dict[str, dict[Competitor, Estimate]]:
    """Return the estimates of `summarise`, with the single values of `dots`, by metric and competitor."""
    key = ["method", "config", "metric"]
    together = values.join(
        single.group_by(key, maintain_order=True).agg(pl.col("value").alias("dots")), on=key, how="left"
    )
    found: dict[str, dict[Competitor, Estimate]] = {}
    for row in together.iter_rows(named=True):
        estimate = Estimate(row["value"], row["low"], row["high"], tuple(row["dots"] or ()))
        found.setdefault(row["metric"], {})[row["method"], row["config"]] = estimate
    return found


def forest_panel(
    found: Estimates, meaning: Definition, roster: Roster, setting: str = "", reference: float | None = None
) -> Panel:
    """Return the panel of one metric; `setting` tells it from others of the same metric.

    The dashed line is `reference`, or retrain's mean if none is given. Methods that failed do not stretch
    the scale; where they lie outside they are marked at its edge.
    """
    entries = [entry for entry in roster if entry.competitor in found]
    layout = Rows(entries)
    places = decimals((e.value for e in found.values()), (e.half for e in found.values()))
    listed = ", ".join(f"{entry.label} {fixed(found[entry.competitor].value, places)}" for entry in entries)
    title = f"{meaning.label}, {setting}" if setting else meaning.label
    line = _retrain(layout, found) if reference is None else Estimate(reference, None, None)
    drawn = partial(_draw, layout=layout, found=found, line=line, places=places, title=title, meaning=meaning)
    return Panel(WIDTH, layout.height, f"{title}, {better(meaning)}: {listed}.", drawn)


def _retrain(layout: Rows, found: Estimates) -> Estimate | None:
    return next((found[entry.competitor] for entry in layout.entries if entry.method == RETRAIN), None)


def _draw(
    sheet: Sheet,
    layout: Rows,
    found: Estimates,
    line: Estimate | None,
    places: int,
    title: str,
    meaning: Definition,
) -> None:
    scale = _scale(layout, found, line, most(meaning))
    head(sheet, title, meaning.unit, named(meaning) + (", square-root scale" if scale.root else ""))
    if line is not None:
        _draw_reference(sheet, scale, layout, line)
    layout.guides(sheet, scale)
    for entry, y in layout:
        layout.write(sheet, entry, y, fixed(found[entry.competitor].value, places))
        _draw_row(sheet, scale, entry, y, found[entry.competitor])
    axis(sheet, scale, layout.bottom, scale.ticks())


def _scale(layout: Rows, found: Estimates, line: Estimate | None, highest: float) -> Scale:
    heard = [entry for entry in layout.entries if entry.status != "failed"] or layout.entries
    extent = [number for entry in heard for number in found[entry.competitor].extent]
    seen = [number for entry in heard for number in found[entry.competitor].seen]
    seen += [line.value] if line else []
    low, high = bounded(span([*extent, *seen]) or (0.0, 1.0), seen, highest)
    root = low >= 0 and is_skewed([found[entry.competitor].value for entry in heard])
    return layout.scale(low, high, root)


def _draw_reference(sheet: Sheet, scale: Scale, layout: Rows, line: Estimate) -> None:
    """Draw a dashed line over all rows, on a band as wide as its interval."""
    if line.low is not None and line.high is not None:
        low, high = scale.cut(line.low), scale.cut(line.high)
        sheet.band((scale(low), HEAD), (scale(high), layout.bottom), BAND.light)
    x = scale(line.value)
    sheet.lines([[(x, HEAD - 4), (x, layout.bottom)]], INK.light, 1, (3, 3))


def _draw_row(sheet: Sheet, scale: Scale, entry: Entry, y: float, estimate: Estimate) -> None:
    inside = [dot for dot in estimate.dots if scale.holds(dot)]
    sheet.dots([(scale(dot), y + 6.5) for dot in inside], 3.8, entry.colour)
    if not scale.holds(estimate.value):
        beyond = estimate.value > scale.high
        sheet.text((scale.end, y + 4) if beyond else (scale.start, y + 4), RIGHT if beyond else LEFT, anchor="center")
        return
    if estimate.low is not None and estimate.high is not None:
        low, high = scale.cut(estimate.low), scale.cut(estimate.high)
        sheet.line((scale(low), y), (scale(high), y), entry.colour, 2)
    sheet.marks([(scale(estimate.value), y)], entry.marker, 7.5, entry.colour)
