"""Panels with one row per method: where each row lies, its name, the head and the axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report.numbers import tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry
from harness.report.scales import Scale
from harness.report.sheet import TEXT, Sheet, shortened, width_of

WIDTH = 340.0
HEAD, ROW, GAP, FOOT = 46.0, 21.0, 8.0, 26.0
MOST_NAMES, NUMBERS = 140.0, 52.0


@dataclass(frozen=True)
class Rows:
    """The rows of a panel: every entry and the middle of its row; a gap sets another standing apart."""

    entries: Sequence[Entry]

    def __iter__(self) -> Iterator[tuple[Entry, float]]:
        y, before = HEAD, None
        for entry in self.entries:
            if before not in (None, entry.status):
                y += GAP
            before = entry.status
            yield entry, y + ROW / 2
            y += ROW

    @property
    def names(self) -> float:
        """The room for the names, left of the plot."""
        return min(MOST_NAMES, max((width_of(entry.label) for entry in self.entries), default=0.0)) + 10

    def scale(self, low: float, high: float, root: bool = False) -> Scale:
        """Return a scale over the plot, between the names and the numbers."""
        return Scale(low, high, self.names + 4, WIDTH - NUMBERS, root)

    def guides(self, sheet: Sheet, scale: Scale) -> None:
        """Draw a faint line along each row."""
        sheet.lines([[(scale.start, y), (scale.end, y)] for _, y in self], RULE.light, 0.5)

    def write(self, sheet: Sheet, entry: Entry, y: float, number: str) -> None:
        """Write a method's name left of its row and its number at the right, muted if it has no rank."""
        colour = INK if entry.status in ("ranked", "reference") else MUTED
        sheet.text((self.names - 6, y + 4), shortened(entry.label, MOST_NAMES), colour.light, "right")
        sheet.text((WIDTH, y + 4), number, MUTED.light, "right")

    @property
    def bottom(self) -> float:
        """The lower edge of the last row."""
        return max((y for _, y in self), default=HEAD) + ROW / 2

    @property
    def height(self) -> float:
        """The height of the whole panel with head and axis."""
        return self.bottom + FOOT


def head(sheet: Sheet, title: str, unit: str, note: str) -> None:
    """Write a panel's title, the unit beside it, and below it a note in small."""
    sheet.text((0, 13), shortened(title, WIDTH - width_of(unit) - 10, 13), bold=True, size=13)
    sheet.text((WIDTH, 13), unit, MUTED.light, "right", TEXT - 0.5)
    sheet.text((0, 29), shortened(note, WIDTH, TEXT - 0.5), MUTED.light, size=TEXT - 0.5)


def axis(sheet: Sheet, scale: Scale, y: float, ticks: Sequence[float]) -> None:
    """Draw a horizontal axis with ticks and their labels below."""
    sheet.line((scale.start, y), (scale.end, y), RULE.light)
    sheet.lines([[(scale(one), y), (scale(one), y + 4)] for one in ticks], RULE.light)
    for one in ticks:
        sheet.text((scale(one), y + 16), tick(one), MUTED.light, "center", TEXT - 1)
