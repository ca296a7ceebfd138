"""Names right of where lines end."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.palette import INK
from harness.report.roster import Entry
from harness.report.scales import Scale, spread_within
from harness.report.sheet import Point, Sheet, shortened

TEXT, LINE = 11.0, 14.0
"""Size of a name, and how far apart two of them are at least."""


def name_ends(sheet: Sheet, ends: Sequence[tuple[Entry, Point]], right: float, width: float, upwards: Scale) -> None:
    """Write each name behind the right edge of a plot, level with where its line ends unless another name is there.

    `width` is the panel's. A dotted line leads from each end to its name. The scale has room for all of them, at `LINE`
    pixels each.
    """
    places = spread_within([y for _, (_, y) in ends], LINE, upwards.end, upwards.start)
    for (entry, end), y in zip(ends, places, strict=True):
        sheet.lines([[end, (right + 8, y)]], entry.colour, 0.8, (1, 2))
        sheet.marks([(right + 14, y)], entry.marker, 6.5, entry.colour)
        name = shortened(entry.label, width - right - 22, TEXT)
        sheet.text((right + 22, y + 4), name, INK.light, size=TEXT, bold=entry.is_reference)
