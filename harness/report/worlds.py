"""Some examples in every world: how phi is spread over the releases, one panel per pool and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import polars as pl

from harness.errors import printable
from harness.report.data import PLACE, in_panels
from harness.report.numbers import fixed, several, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.scales import Scale, span
from harness.report.sheet import Panel, Point, Sheet, shortened

MOST = 12
"""At most so many panels are drawn, for the references and the best methods of the ranking."""

BINS, FEW = 10, 3
"""Steps of a histogram; fewer examples than this leave room in a panel instead of being stretched."""

WIDTH, HEIGHT = 430.0, 156.0
TOP, BOTTOM, BETWEEN = 64.0, 128.0, 14.0
TEXT, OPACITY = 11.0, 0.18

_POOL = (*PLACE, "pool")
_WHOSE = (*_POOL, "method", "config")
_NAMES = {"U": "unlearned", "O": "never in", "R": "retrained"}


@dataclass(frozen=True)
class Example:
    """One example: its position in the pool, its effect size if known, and phi of all releases by world."""

    position: int
    d: float | None
    worlds: dict[str, list[float]]

    @property
    def words(self) -> str:
        """The means of its worlds."""
        means = (
            f"{_NAMES[world]} {fixed(fmean(phi), 2)} over {several(len(phi), 'release')}"
            for world, phi in self.worlds.items()
        )
        return f"example {self.position} (d {fixed(self.d, 2)}): {', '.join(means)}"


@dataclass(frozen=True)
class Histograms:
    """The chosen examples of one competitor on one pool, the largest effect first."""

    entry: Entry
    setting: str
    examples: list[Example]


def world_panels(worlds: pl.DataFrame, effects: pl.DataFrame, roster: Roster) -> tuple[list[Panel], list[Entry]]:
    """Return a panel for each place, pool and method, and the methods that were left out, the last of the ranking.

    `worlds` and `effects` are frames with the schemas of that name in `harness.metrics.drawn`. There are no more than
    `MOST` panels, unless the first reference alone has more.
    """
    rows = worlds.drop_nulls("phi").filter(pl.col("world").is_in(list(_NAMES)))
    known = effects.filter(pl.col("null") == "O").select(*_WHOSE, "example", "d")
    rows = rows.join(known, on=[*_WHOSE, "example"], how="left").sort(*_WHOSE, "example", "world", "phi")
    shown, left_out = _shown(rows, roster)
    panels = []
    for where, (pool,), own in in_panels(rows, "pool"):
        setting = printable(f"{where}{pool}")
        present = [entry for entry in roster.among(own) if entry in shown]
        panels += [_panel(Histograms(entry, setting, _examples(own, entry))) for entry in present]
    return panels, left_out


def _shown(rows: pl.DataFrame, roster: Roster) -> tuple[list[Entry], list[Entry]]:
    """Return who is drawn and who is not: references are first, then the ranking decides."""
    pools = rows.select(_WHOSE).unique().group_by("method", "config").len().rows()
    count = {(method, config): number for method, config, number in pools}
    shown: list[Entry] = []
    left_out: list[Entry] = []
    for entry in sorted(roster.among(rows), key=lambda entry: not entry.is_reference):
        room = MOST - sum(count[one.competitor] for one in shown)
        fits = not left_out and count[entry.competitor] <= room
        (shown if fits or not shown else left_out).append(entry)
    return shown, left_out


def _examples(rows: pl.DataFrame, entry: Entry) -> list[Example]:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
    examples = []
    for part in own.partition_by("example", maintain_order=True):
        position, d = part.select("example", "d").row(0)
        worlds = {world: part.filter(pl.col("world") == world)["phi"].to_list() for world in _NAMES}
        examples.append(Example(position, d, {world: phi for world, phi in worlds.items() if phi}))
    return sorted(examples, key=lambda one: (one.d is None, -(one.d or 0.0), one.position))


def _panel(one: Histograms) -> Panel:
    listed = "; ".join(example.words for example in one.examples)
    return Panel(WIDTH, HEIGHT, f"phi by world, {one.setting}, {one.entry.label}: {listed}.", partial(_draw, one=one))


def _draw(sheet: Sheet, one: Histograms) -> None:
    sheet.marks([(6, 9)], one.entry.marker, 8, one.entry.colour)
    sheet.text((16, 13), shortened(f"{one.entry.label}, {one.setting}", WIDTH - 176, 13), bold=True, size=13)
    sheet.text((WIDTH, 13), "filled U, line O, dashed R", MUTED.light, "right", TEXT)
    width = (WIDTH + BETWEEN) / max(FEW, len(one.examples)) - BETWEEN
    for place, example in enumerate(one.examples):
        left = place * (width + BETWEEN)
        _draw_example(sheet, example, (left, left + width), one.entry.colour)


def _draw_example(sheet: Sheet, example: Example, ends: tuple[float, float], colour: str) -> None:
    effect = "" if example.d is None else f"d = {fixed(example.d, 2)}"
    sheet.text((ends[0], 34), f"example {example.position}", MUTED.light, size=TEXT)
    sheet.text((ends[0], 49), effect, INK.light, size=TEXT, bold=True)
    outlines = _outlines(example, ends)
    for world, outline in outlines.items():
        if world == "U":
            sheet.area(outline, colour, OPACITY)
    looks = {"U": (colour, 1.8, None), "O": (INK.light, 1.1, None), "R": (MUTED.light, 1.3, (2.5, 2.0))}
    for world, outline in outlines.items():
        stroke, thick, dashes = looks[world]
        sheet.lines([outline], stroke, thick, dashes)
    scale = _scale(example, ends)
    sheet.line((ends[0], BOTTOM), (ends[1], BOTTOM), RULE.light)
    for phi in scale.ticks(34):
        sheet.line((scale(phi), BOTTOM), (scale(phi), BOTTOM + 4), RULE.light)
        sheet.text((scale(phi), BOTTOM + 16), tick(phi), MUTED.light, "center", TEXT)


def _scale(example: Example, ends: tuple[float, float]) -> Scale:
    low, high = span([phi for world in example.worlds.values() for phi in world]) or (0.0, 1.0)
    return Scale(low, high, *ends)


def _outlines(example: Example, ends: tuple[float, float]) -> dict[str, list[Point]]:
    """Return the histogram of each world as steps: shares of its releases, all to one height."""
    scale = _scale(example, ends)
    edges = np.linspace(scale.low, scale.high, BINS + 1).tolist()
    shares = {world: (np.histogram(phi, edges)[0] / len(phi)).tolist() for world, phi in example.worlds.items()}
    upwards = Scale(0, max(max(share) for share in shares.values()), BOTTOM, TOP)
    return {world: _steps(edges, share, scale, upwards) for world, share in shares.items()}


def _steps(edges: Sequence[float], share: Sequence[float], scale: Scale, upwards: Scale) -> list[Point]:
    tops = [upwards(one) for one in share]
    inner = [
        (scale(edge), top)
        for left, right, top in zip(edges[:-1], edges[1:], tops, strict=True)
        for edge in (left, right)
    ]
    return [(inner[0][0], BOTTOM), *inner, (inner[-1][0], BOTTOM)]
