"""What the usual attack sees beside what an attack fitted to each method sees: one picture for a reader in a hurry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from harness.errors import printable
from harness.ranking import OVERALL, merge_searches
from harness.report.audit import headline_estimates, headline_name
from harness.report.data import finite
from harness.report.forest import LEFT as BELOW
from harness.report.forest import RIGHT as ABOVE
from harness.report.forest import Estimate, Estimates
from harness.report.numbers import fixed, tick
from harness.report.palette import BAND, GROUND, INK, METHODS, MUTED, RULE
from harness.report.roster import Entry, make_roster
from harness.report.scales import Scale
from harness.report.sheet import GAP, Panel, Sheet, compose, shortened, width_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUAL = "population_mia_val"
TITLE = "What the usual attack sees, and what an audit sees"
NOTE = "Telling forgotten images from unseen ones: accuracy of the usual attack, AUC of U-LiRA, with 95 % intervals"
GUESSING = 0.5

WIDTH = 832.0
NAMES, NUMBERS = 206.0, 44.0
HEAD, LINE, BETWEEN, FOOT = 96.0, 15.0, 11.0, 24.0
TEXT, SMALL = 14.0, 12.5


@dataclass(frozen=True)
class Series:
    """One attack: its name, its colour and mark, and what it reaches on each competitor."""

    name: str
    colour: str
    marker: str
    hollow: bool
    found: Estimates


@dataclass(frozen=True)
class Layout:
    """A row for each competitor, with a line in it for each attack."""

    entries: Sequence[Entry]
    lines: int

    def __iter__(self) -> Iterator[tuple[Entry, float]]:
        """Yield every entry and the top of its row."""
        return ((entry, HEAD + place * self.row) for place, entry in enumerate(self.entries))

    @property
    def row(self) -> float:
        """The height of a row."""
        return self.lines * LINE + BETWEEN

    @property
    def bottom(self) -> float:
        """The lower edge of the last row."""
        return HEAD + len(self.entries) * self.row


def contrast_figure(rankings: pl.DataFrame, attacks: pl.DataFrame) -> Figure:
    """Return the figure of both attacks on each method, in the order of the ranking, on an opaque light ground.

    The usual attack is the population attack on the validation part as `rankings` has it (accuracy; Cadet et al. 2024,
    arXiv 2410.01276), the audit is U-LiRA (AUC at level L2, null O; Hayes et al. 2024, arXiv 2403.01218), one mark for
    each pool in `attacks`. If more than one place was audited there is no one number, and the audit is left out.
    """
    rankings, attacks = finite(merge_searches(rankings)), finite(merge_searches(attacks))
    series = _series(rankings, attacks)
    entries = [one for one in make_roster(rankings, attacks) if any(one.competitor in s.found for s in series)]
    figure = compose([_panel(entries, series)] if entries else [], gap=GAP)
    figure.set(facecolor=GROUND.light)
    return figure


def _series(rankings: pl.DataFrame, attacks: pl.DataFrame) -> list[Series]:
    rows = rankings.filter(pl.col("group") == OVERALL, pl.col("metric") == USUAL, pl.col("value").is_not_null())
    usual = {(r["method"], r["config"]): Estimate(r["value"], r["low"], r["high"]) for r in rows.iter_rows(named=True)}
    series = [Series("usual population attack", INK.light, "o", True, usual)] if usual else []
    looks = ((METHODS[1], "D"), (METHODS[0], "s"), *((colour, "^") for colour in METHODS[2:]))
    estimates = headline_estimates(attacks)
    audits = {
        pool: found for pool in sorted(set(attacks["pool"])) if (found := estimates.get(headline_name(pool, "O")))
    }
    for (pool, found), (colour, marker) in zip(audits.items(), looks, strict=False):
        series.append(Series(f"U-LiRA, {printable(pool)} images", colour.light, marker, False, found))
    return series


def _panel(entries: Sequence[Entry], series: Sequence[Series]) -> Panel:
    layout = Layout(entries, len(series))
    listed = "; ".join(f"{entry.label}: {_numbers(entry, series)}" for entry in entries)
    draw = partial(_draw, layout=layout, series=series)
    return Panel(WIDTH, layout.bottom + FOOT, f"{TITLE}. {listed}.", draw)


def _numbers(entry: Entry, series: Sequence[Series]) -> str:
    own = ((one.name, one.found[entry.competitor].value) for one in series if entry.competitor in one.found)
    return ", ".join(f"{name} {fixed(value, 2)}" for name, value in own)


def _draw(sheet: Sheet, layout: Layout, series: Sequence[Series]) -> None:
    scale = Scale(0.4, 1.0, NAMES, WIDTH - NUMBERS)
    sheet.text((0, 19), TITLE, size=21, bold=True)
    sheet.text((0, 41), NOTE, MUTED.light, size=SMALL)
    _draw_key(sheet, series)
    for place, (_, top) in enumerate(layout):
        if place % 2 == 0:
            sheet.band((0, top), (WIDTH, top + layout.row), BAND.light)
    _draw_axis(sheet, scale, layout)
    for entry, top in layout:
        _draw_row(sheet, scale, layout, entry, top, series)


def _draw_key(sheet: Sheet, series: Sequence[Series]) -> None:
    x = 6.0
    for one in series:
        sheet.marks([(x, 62)], one.marker, 9, one.colour, one.hollow)
        sheet.text((x + 11, 66.5), one.name, one.colour, size=SMALL, bold=True)
        x += width_of(one.name, SMALL) + 30


def _draw_axis(sheet: Sheet, scale: Scale, layout: Layout) -> None:
    for one in scale.ticks(90):
        sheet.line((scale(one), HEAD), (scale(one), layout.bottom), RULE.light)
        sheet.text((scale(one), layout.bottom + 17), tick(one), MUTED.light, "center", SMALL)
    x = scale(GUESSING)
    sheet.lines([[(x, HEAD - 4), (x, layout.bottom)]], INK.light, 1.2, (4, 3))
    sheet.text((x, HEAD - 9), "guessing", anchor="center", size=SMALL)


def _draw_row(sheet: Sheet, scale: Scale, layout: Layout, entry: Entry, top: float, series: Sequence[Series]) -> None:
    name = shortened(entry.label, NAMES, TEXT)
    sheet.text((10, top + layout.row / 2 + 5), name, size=TEXT, bold=entry.is_reference)
    for place, one in enumerate(series):
        if entry.competitor in one.found:
            _draw_estimate(sheet, scale, top + (BETWEEN + LINE) / 2 + place * LINE, one, one.found[entry.competitor])


def _draw_estimate(sheet: Sheet, scale: Scale, y: float, one: Series, estimate: Estimate) -> None:
    sheet.text((WIDTH - 8, y + 4.5), fixed(estimate.value, 2), one.colour, "right", SMALL)
    if not scale.holds(estimate.value):
        beyond = estimate.value > scale.high
        sheet.text((scale.end if beyond else scale.start, y + 4), ABOVE if beyond else BELOW, one.colour, "center")
        return
    if estimate.low is not None and estimate.high is not None:
        sheet.line((scale(scale.cut(estimate.low)), y), (scale(scale.cut(estimate.high)), y), one.colour, 2)
    sheet.marks([(scale(estimate.value), y)], one.marker, 9, one.colour, one.hollow)
