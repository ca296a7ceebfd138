"""What generated images show: how much of the classes to forget, how many a filter drops, which classes they are.

Over-filtering is a generator that goes on making images of the classes to forget, of which the filter leaves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from harness.ranking import merge_searches
from harness.report.numbers import fixed, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster
from harness.report.scales import Scale, spread
from harness.report.sheet import Panel, Point, Sheet, shortened

KEPT, SEEN, ANSWERS, CONFIDENCE = "kept", "forget_probability", "teacher_answers", "confidence"
"""Names in the table `traces`: the share of images kept, the original's mean probability of the classes to forget, the
shares of its answers by class, and its mean confidence in them."""

WIDTH, HEIGHT = 250.0, 232.0
LEFT, RIGHT, TOP, BOTTOM = 32.0, 176.0, 30.0, 122.0
BARS_TOP, BARS_BOTTOM = 160.0, 206.0
TEXT = 10.5
WORDS = {KEPT: "kept", SEEN: "forgotten", CONFIDENCE: "confidence"}


@dataclass(frozen=True)
class Traced:
    """What one method noted, means over seeds: lines (epoch, value) by name, and the share of answers by class."""

    entry: Entry
    lines: dict[str, list[Point]]
    answers: list[float]
    forget_classes: tuple[int, ...]

    @property
    def words(self) -> str:
        """What the panel shows."""
        ends = [f"{WORDS[name]} {fixed(line[-1][1], 3)}" for name, line in self.lines.items() if line]
        forgotten = sum(self.answers[label] for label in self.forget_classes if label < len(self.answers))
        named = self.answers and self.forget_classes
        share = f"; {fixed(forgotten, 3)} of the original's answers name a class to forget" if named else ""
        return f"{self.entry.label}, in the last epoch: {', '.join(ends)}{share}."


def of_images(traces: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the table `traces` that are about generated images; methods note other numbers, too."""
    return traces.filter(pl.col("name").is_in([*WORDS, ANSWERS]))


def traced(traces: pl.DataFrame, roster: Roster, forget_classes: tuple[int, ...]) -> list[Traced]:
    """Return what each method noted of its images; `traces` is that table for one cell."""
    rows = merge_searches(of_images(traces))
    return [_of_method(rows, entry, forget_classes) for entry in roster.among(rows)]


def means(traces: pl.DataFrame) -> pl.DataFrame:
    """Return method, config, epoch and the means over seeds of what is one number an epoch."""
    rows = merge_searches(traces).filter(pl.col("name").is_in(list(WORDS)))
    single = rows.with_columns(value=pl.col("values").list.first().cast(pl.Float64))
    averaged = single.group_by("method", "config", "epoch", "name").agg(pl.col("value").mean())
    wide = averaged.pivot("name", index=["method", "config", "epoch"], values="value", sort_columns=True)
    missing = [pl.lit(None, pl.Float64).alias(name) for name in WORDS if name not in wide.columns]
    return wide.with_columns(missing).sort("method", "config", "epoch")


def synthesis_panels(found: Sequence[Traced]) -> list[Panel]:
    """Return a panel for each method: lines above, the original's answers by class below."""
    return [Panel(WIDTH, HEIGHT, one.words, partial(_draw, one=one)) for one in found]


def _of_method(rows: pl.DataFrame, entry: Entry, forget_classes: tuple[int, ...]) -> Traced:
    own = rows.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
    averaged = means(own)
    lines = {name: averaged.select("epoch", name).drop_nulls().rows() for name in WORDS}
    by_class = own.filter(pl.col("name") == ANSWERS)["values"].to_list()
    return Traced(entry, lines, np.mean(by_class, axis=0).tolist() if by_class else [], forget_classes)


def _draw(sheet: Sheet, one: Traced) -> None:
    last = max((epoch for line in one.lines.values() for epoch, _ in line), default=1.0)
    x, y = Scale(0, max(last, 1.0), LEFT, RIGHT), Scale(0, 1, BOTTOM, TOP)
    sheet.marks([(LEFT - 2, 9)], one.entry.marker, 8, one.entry.colour)
    sheet.text((LEFT + 7, 13), shortened(one.entry.label, WIDTH - LEFT - 20, 12.5), bold=True, size=12.5)
    sheet.lines([[(LEFT, BOTTOM + 3), (RIGHT, BOTTOM + 3)], [(LEFT - 3, TOP), (LEFT - 3, BOTTOM)]], RULE.light)
    for value in (0.0, 0.5, 1.0):
        sheet.text((LEFT - 7, y(value) + 3.5), tick(value), MUTED.light, "right", TEXT - 0.5)
    for epoch in (mark for mark in x.ticks(30) if mark == int(mark)):
        sheet.text((x(epoch), BOTTOM + 15), tick(epoch), MUTED.light, "center", TEXT - 0.5)
    sheet.text((RIGHT + 12, BOTTOM + 15), "epoch", MUTED.light, size=TEXT - 0.5)
    _draw_lines(sheet, one, x, y)
    _draw_answers(sheet, one)


def _draw_lines(sheet: Sheet, one: Traced, x: Scale, y: Scale) -> None:
    colours = {KEPT: MUTED.light, SEEN: one.entry.colour, CONFIDENCE: one.entry.colour}
    drawn = {name: line for name, line in one.lines.items() if line}
    for name, line in drawn.items():
        sheet.lines([[(x(epoch), y(value)) for epoch, value in line]], colours[name], 1.4 if name == KEPT else 2.2)
    ends = spread([y(line[-1][1]) for line in drawn.values()], 12)
    for name, end in zip(drawn, ends, strict=True):
        colour = colours[name] if name == KEPT else INK.light
        sheet.text((RIGHT + 6, end + 3.5), WORDS[name], colour, size=TEXT, bold=name != KEPT)


def _draw_answers(sheet: Sheet, one: Traced) -> None:
    """Draw a bar for each class, those to forget in the method's colour."""
    if not one.answers:
        return
    room = (RIGHT - LEFT) / len(one.answers)
    height = Scale(0, max(one.answers), BARS_BOTTOM, BARS_TOP)
    sheet.line((LEFT, BARS_BOTTOM), (RIGHT, BARS_BOTTOM))
    sheet.text((LEFT - 7, BARS_TOP + 4), tick(round(max(one.answers), 2)), MUTED.light, "right", TEXT - 0.5)
    for label, share in enumerate(one.answers):
        left = LEFT + room * label
        colour = one.entry.colour if label in one.forget_classes else MUTED.light
        sheet.band((left + 0.1 * room, height(share)), (left + 0.9 * room, BARS_BOTTOM), colour)
    few = len(one.answers) <= 20
    for label in range(len(one.answers)) if few else one.forget_classes:
        middle = LEFT + room * (label + 0.5)
        sheet.text((middle, BARS_BOTTOM + 13), str(label), MUTED.light, "center", TEXT - 1)
    sheet.text((RIGHT + 6, BARS_BOTTOM + 13), "class", MUTED.light, size=TEXT - 0.5)
