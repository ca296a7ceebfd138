"""The audit example by example: one panel per pool, one row per method, every example as a dot at its effect size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from harness.attacks import smallest_detectable_effect_per_example
from harness.errors import printable
from harness.report.audit import HEADLINE
from harness.report.data import PLACE, in_panels
from harness.report.palette import BAND, INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.rows import axis
from harness.report.scales import Scale
from harness.report.sheet import Panel, Point, Sheet, shortened

WIDTH, NAMES, NUMBERS = 490.0, 176.0, 78.0
HEAD, ROW, FOOT = 48.0, 26.0, 42.0
TEXT = 11.0
PITCH, ROOM = 2.6, 22.0
"""Width of a column of dots, and the height that the columns of a row may take."""

DOT, FLAGGED = 1.7, 2.6
MANY = 300
"""Of more examples than this the unflagged ones are thinned to about so many."""

NARROWEST, WIDEST = 2.0, 8.0
"""How far the axis reaches to either side, in standard deviations: as far as most examples, between these."""

_POOL = (*PLACE, "pool")

Ends = tuple[float, float]


@dataclass(frozen=True)
class Effects:
    """The effects of one competitor: (d, flagged) of every example of which d is known."""

    entry: Entry
    examples: list[tuple[float, bool]]

    @property
    def flagged(self) -> int:
        """How many examples are flagged."""
        return sum(flagged for _, flagged in self.examples)

    @property
    def count(self) -> str:
        """How many are flagged, of how many."""
        return f"{self.flagged} of {len(self.examples)}"


@dataclass(frozen=True)
class Dot:
    """A drawn example: the column that it stands in, how far from the middle of the row, in dots."""

    column: int
    level: int
    flagged: bool


def effect_panels(effects: pl.DataFrame, attacks: pl.DataFrame, roster: Roster) -> list[Panel]:
    """Return one panel for each place and pool with the effects (null O) of all methods that were audited there.

    `effects` is a frame with the schema `harness.metrics.drawn.EFFECTS`, `attacks` the table of that name: its number
    of shadows says which effects nobody could have found.
    """
    rows = effects.filter(pl.col("null") == "O").drop_nulls("d").sort(*_POOL, "method", "config", "example")
    reach = _reach(rows)
    panels = []
    for where, (pool,), own in in_panels(rows, "pool"):
        found = [_effects(own, entry) for entry in roster.among(own)]
        if found:
            shadows = _shadows(attacks, own)
            panels.append(_panel(printable(f"Effect sizes, {where}{pool}, null O"), found, shadows, reach))
    return panels


def _reach(rows: pl.DataFrame) -> Ends:
    """Return the ends of the axis, the same in all panels: on either side a whole number that holds 99 %."""
    return -_end(-rows["d"]), _end(rows["d"])


def _end(values: pl.Series) -> float:
    most = values.quantile(0.99)
    return NARROWEST if most is None else min(WIDEST, max(NARROWEST, float(math.ceil(most))))


def _shadows(attacks: pl.DataFrame, own: pl.DataFrame) -> int | None:
    """Return the smallest number of shadows that the audit of this pool had for a method, if it is known."""
    headline = attacks.filter(pl.col("level") == "L2", pl.col("metric") == HEADLINE, pl.col("null") == "O")
    least = headline.join(own.select(_POOL).unique(), on=_POOL, how="semi")["n"].min()
    return least if isinstance(least, int) else None


def _effects(rows: pl.DataFrame, entry: Entry) -> Effects:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
    return Effects(entry, own.select("d", pl.col("flagged").fill_null(False)).rows())


def _panel(title: str, found: Sequence[Effects], shadows: int | None, reach: Ends) -> Panel:
    blind = smallest_detectable_effect_per_example(shadows) if shadows and shadows > 1 else math.inf
    listed = ", ".join(f"{one.entry.label} {one.count}" for one in found)
    words = f"{title}: examples whose effect size is told from 0: {listed}."
    note = "coloured: flagged"
    if math.isfinite(blind):
        note += f"; shaded: |d| < {blind:.2f}, often missed by {shadows} shadows"
    height = HEAD + ROW * len(found) + FOOT
    return Panel(WIDTH, height, words, partial(_draw, title=title, note=note, found=found, blind=blind, reach=reach))


def _draw(sheet: Sheet, title: str, note: str, found: Sequence[Effects], blind: float, reach: Ends) -> None:
    scale = Scale(*reach, NAMES, WIDTH - NUMBERS)
    bottom = HEAD + ROW * len(found)
    sheet.text((0, 13), shortened(title, WIDTH - NUMBERS, 13), bold=True, size=13)
    sheet.text((WIDTH, 13), "flagged", MUTED.light, "right", TEXT)
    sheet.text((0, 30), note, MUTED.light, size=TEXT)
    if math.isfinite(blind):
        sheet.band((scale(scale.cut(-blind)), HEAD), (scale(scale.cut(blind)), bottom), BAND.light)
    middles = [HEAD + ROW * (place + 0.5) for place in range(len(found))]
    sheet.lines([[(scale.start, y), (scale.end, y)] for y in middles], RULE.light, 0.5)
    sheet.lines([[(scale(0), HEAD - 4), (scale(0), bottom)]], INK.light, 1, (3, 3))
    step = _step(found, scale)
    for one, y in zip(found, middles, strict=True):
        _draw_row(sheet, scale, one, y, step)
    axis(sheet, scale, bottom, scale.ticks())
    sheet.text((scale.start, bottom + 33), "less sure than of unseen", MUTED.light, size=TEXT)
    sheet.text((scale.end, bottom + 33), "surer", MUTED.light, "right", TEXT)


def _draw_row(sheet: Sheet, scale: Scale, one: Effects, y: float, step: float) -> None:
    name = shortened(one.entry.label, NAMES - 30, TEXT)
    sheet.text((NAMES - 26, y + 4), name, INK.light, "right", TEXT, bold=one.entry.is_reference)
    sheet.marks([(NAMES - 16, y)], one.entry.marker, 6.5, one.entry.colour)
    sheet.text((WIDTH, y + 4), one.count, MUTED.light, "right", TEXT)
    dots = list(swarm(one.examples, scale))

    def at(dot: Dot) -> Point:
        return scale.start + dot.column * PITCH, y + dot.level * step

    sheet.dots([at(dot) for dot in dots if not dot.flagged], DOT, MUTED.light)
    sheet.dots([at(dot) for dot in dots if dot.flagged], FLAGGED, one.entry.colour)


def swarm(examples: Sequence[tuple[float, bool]], scale: Scale) -> Iterator[Dot]:
    """Yield the examples as dots in columns, flagged ones in the middle; what is beyond the scale lies on its edge.

    Of more than `MANY` examples the unflagged ones are thinned within their columns, which keep their height.
    """
    every = math.ceil(len(examples) / MANY)
    stacked: dict[int, int] = {}
    for d, flagged in sorted(examples, key=lambda one: (not one[1], one[0])):
        column = _column(d, scale)
        place = stacked[column] = stacked.get(column, -1) + 1
        # 0, 1, -1, 2, -2: a column grows from its middle to both sides.
        if flagged or place // 2 % every == 0:
            yield Dot(column, (place + 1) // 2 * (1 if place % 2 else -1), flagged)


def _column(d: float, scale: Scale) -> int:
    return round((scale(scale.cut(d)) - scale.start) / PITCH)


def _step(found: Sequence[Effects], scale: Scale) -> float:
    """Return the distance of the dots in a column, so that the highest column of the panel fits into its row."""
    heights: Mapping[tuple[int, int], int] = Counter(
        (row, _column(d, scale)) for row, one in enumerate(found) for d, _ in one.examples
    )
    return min(PITCH, ROOM / max(heights.values()))
