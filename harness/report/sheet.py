"""A sheet to draw on, in pixels from the top left, and figures composed of panels.

Panels draw with a handful of marks instead of matplotlib's axes: a page has hundreds of small panels, and
each axes costs more than everything in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.errors import printable
from harness.report.palette import GROUND, INK, RULE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

Anchor = Literal["left", "center", "right"]
Point = tuple[float, float]

PIXELS_PER_INCH = 72
GAP = 28.0
"""Between the panels of a figure that stands by itself."""

EMPTY = 72.0
"""Width and height of a figure without panels: it can be saved all the same."""

TEXT = 11.5
FONT = "DejaVu Sans"
"""What matplotlib draws with; SVG takes the font of the page or of the reader."""

_WIDTH_OF_LETTER = 0.6
_HAIR = 0.01


@dataclass(frozen=True)
class Sheet:
    """A part of a figure; `left` and `top` place its origin. Sizes are pixels, in print 1/72 inch."""

    figure: Figure
    height: float
    left: float = 0.0
    top: float = 0.0

    def lines(
        self,
        lines: Iterable[Sequence[Point]],
        colour: str = RULE.light,
        width: float = 1.0,
        dashes: tuple[float, float] | None = None,
    ) -> None:
        """Draw polylines, all of them as one path."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        drawn = [line for line in lines if len(line) > 1]
        if not drawn:
            return
        codes = [code for line in drawn for code in (Path.MOVETO, *[Path.LINETO] * (len(line) - 1))]
        path = Path([point for line in drawn for point in line], codes)
        style = "solid" if dashes is None else (0, tuple(dash / width for dash in dashes))
        self._add(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, linestyle=style, capstyle="butt"))

    def line(self, start: Point, end: Point, colour: str = RULE.light, width: float = 1.0) -> None:
        """Draw one straight line."""
        self.lines([(start, end)], colour, width)

    def band(self, top_left: Point, bottom_right: Point, colour: str) -> None:
        """Fill a rectangle."""
        from matplotlib.patches import Rectangle

        (x0, y0), (x1, y1) = top_left, bottom_right
        self._add(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=colour, edgecolor="none"))

    def area(self, outline: Sequence[Point], colour: str, opacity: float) -> None:
        """Fill an outline so that what lies below shows through."""
        from matplotlib.patches import Polygon

        self._add(Polygon(outline, facecolor=colour, edgecolor="none", alpha=opacity))

    def dots(self, points: Sequence[Point], size: float, colour: str) -> None:
        """Draw dots, all of them as one path: lines of no length with round ends."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if not points:
            return
        ends = [(x + _HAIR, y) for x, y in points]
        vertices = [vertex for pair in zip(points, ends, strict=True) for vertex in pair]
        path = Path(vertices, [Path.MOVETO, Path.LINETO] * len(points))
        self._add(PathPatch(path, fill=False, edgecolor=colour, linewidth=size, capstyle="round"))

    def marks(
        self,
        points: Sequence[Point],
        marker: str = "o",
        size: float = 7.0,
        colour: str = INK.light,
        hollow: bool = False,
    ) -> None:
        """Draw the same mark at every point; `size` is its diameter, `hollow` leaves only its outline."""
        from matplotlib.lines import Line2D

        if not points:
            return
        xs, ys = zip(*points, strict=True)
        line = Line2D(xs, ys, linestyle="none", marker=marker, markersize=size, color=colour)
        line.set(markerfacecolor=GROUND.light if hollow else colour, markeredgewidth=1.6 if hollow else 0.0)
        self._add(line)

    def text(
        self,
        at: Point,
        text: str,
        colour: str = INK.light,
        anchor: Anchor = "left",
        size: float = TEXT,
        bold: bool = False,
    ) -> None:
        """Write one line of text; `at` is on its base line."""
        written = self.figure.text(
            *at,
            printable(text),
            color=colour,
            fontsize=size,
            ha=anchor,
            va="baseline",
            fontweight="bold" if bold else "normal",
        )
        written.set(transform=self._transform, fontfamily=FONT, parse_math=False, usetex=False)

    def _add(self, artist: Artist) -> None:
        artist.set_transform(self._transform)
        artist.set_snap(False)
        self.figure.add_artist(artist)

    @cached_property
    def _transform(self) -> Transform:
        from matplotlib.transforms import Affine2D

        flipped = Affine2D().translate(self.left, self.top).scale(1, -1).translate(0, self.height)
        return flipped.scale(1 / PIXELS_PER_INCH) + self.figure.dpi_scale_trans


@dataclass(frozen=True)
class Panel:
    """One small picture: its size in pixels, what it shows in words (none if an ornament), how to draw it."""

    width: float
    height: float
    words: str
    draw: Callable[[Sheet], None]


def compose(panels: Sequence[Panel], columns: int = 1, gap: float = 0.0) -> Figure:
    """Return a matplotlib figure of the panels, row by row, on a transparent ground.

    There are `gap` pixels between panels, and half as many around them all.
    """
    from matplotlib.figure import Figure

    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in row) + gap for row in rows]
    width = max((sum(panel.width + gap for panel in row) for row in rows), default=EMPTY)
    height = sum(heights) or EMPTY
    figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), dpi=PIXELS_PER_INCH)
    figure.set(facecolor="none", edgecolor="none")
    top = gap / 2
    for row, row_height in zip(rows, heights, strict=True):
        left = gap / 2
        for panel in row:
            panel.draw(Sheet(figure, height, left, top))
            left += panel.width + gap
        top += row_height
    return figure


def width_of(text: str, size: float = TEXT) -> float:
    """Return about how wide a text is in pixels; every reader has another font."""
    return len(text) * size * _WIDTH_OF_LETTER


def shortened(text: str, room: float, size: float = TEXT) -> str:
    """Return the text, or as much of its start as fits and an ellipsis."""
    most = max(2, int(room / (size * _WIDTH_OF_LETTER)))
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
