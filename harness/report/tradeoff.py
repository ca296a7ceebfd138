"""What a method costs and what it gains: usefulness, privacy and time in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from harness.metrics import RETRAIN, Definition
from harness.report.forest import Estimate, Estimates, estimates
from harness.report.labels import Box, Label, place_labels
from harness.report.meanings import Meanings, named, read_meanings
from harness.report.numbers import fixed, tick
from harness.report.palette import INK, MUTED, RULE
from harness.report.roster import Entry, Roster, make_roster
from harness.report.scales import Scale, bounded, is_skewed, span
from harness.report.sheet import GAP, TEXT, Panel, Point, Sheet, compose, shortened
from harness.report.summary import dots, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS, UPWARDS, TIME = "retention_deviation", "indiscernibility_val", "time_ratio"
TIMES = "\u00d7"
AXES = (ACROSS, UPWARDS, TIME)

WIDTH, HEIGHT = 480.0, 390.0
FRAME = Box(52.0, 26.0, WIDTH - 14.0, HEIGHT - 46.0)
ROOM_FOR_INTERVALS = 0.3
MANY = 10
"""From so many methods on, names stand alone and in small: the times are in the table."""
MOST_TOLD = 24
"""Of more methods than this only the first ones have a name and intervals: else nobody could read any."""
SMALLEST, AS_RETRAIN, LARGEST, REFERENCE = 2.5, 11.0, 16.0, 6.5


@dataclass(frozen=True)
class Spot:
    """A competitor in the picture: both coordinates, and the radius of its mark in pixels."""

    entry: Entry
    across: Estimate
    upwards: Estimate
    radius: float
    text: str


def tradeoff_figure(trials: pl.DataFrame, definitions: pl.DataFrame) -> Figure:
    """Return the figure of privacy against usefulness, the area of a mark being the time relative to retrain.

    With several cells in `trials` a mark is the mean over them. Without any method that has both numbers
    the figure has nothing on it.
    """
    found, roster = estimates(summarise(trials, AXES), dots(trials)), make_roster(trials)
    meanings = read_meanings(definitions)
    return compose([tradeoff_panel(found, meanings, roster)] if can_draw(found, meanings, roster) else [], gap=GAP)


def can_draw(found: Mapping[str, Estimates], meanings: Meanings, roster: Roster) -> bool:
    """Whether some method has both coordinates, and both are defined."""
    return {ACROSS, UPWARDS} <= meanings.keys() and any(not s.entry.is_reference for s in _spots(found, roster))


def out_of_sight(found: Mapping[str, Estimates], roster: Roster) -> list[Entry]:
    """Return the methods that failed and lie beyond the scale of the others."""
    spots = _spots(found, roster)
    return [spot.entry for spot in spots if not _is_in_sight(spot, *_scales(spots))]


def untold(found: Mapping[str, Estimates], roster: Roster) -> int:
    """Return how many methods in the picture have neither name nor intervals there."""
    spots = [spot for spot in _spots(found, roster) if _is_in_sight(spot, *_scales(_spots(found, roster)))]
    return len(spots) - len(told(spots))


def tradeoff_panel(found: Mapping[str, Estimates], meanings: Meanings, roster: Roster) -> Panel:
    """Return the panel of all competitors that have both coordinates and are not out of sight."""
    spots = [spot for spot in _spots(found, roster) if _is_in_sight(spot, *_scales(_spots(found, roster)))]
    listed = "; ".join(
        f"{spot.text} at {fixed(spot.across.value, 3)}, {fixed(spot.upwards.value, 3)}" for spot in spots
    )
    words = f"{meanings[ACROSS].label} (across) against {meanings[UPWARDS].label} (upwards): {listed}."
    return Panel(WIDTH, HEIGHT, words, lambda sheet: _draw(sheet, spots, meanings[ACROSS], meanings[UPWARDS]))


def _spots(found: Mapping[str, Estimates], roster: Roster) -> list[Spot]:
    across, upwards, times = (found.get(metric, {}) for metric in AXES)
    spots = []
    for entry in roster:
        who = entry.competitor
        if who in across and who in upwards:
            time = times[who].value if who in times else None
            shown = replace(entry, colour=MUTED.light) if entry.status == "failed" else entry
            radius = REFERENCE if entry.is_reference else _radius(time)
            spots.append(Spot(shown, across[who], upwards[who], radius, _text(entry, time)))
    return spots


def _radius(time: float | None) -> float:
    """Return the radius of a mark whose area is the time relative to retrain; one size if that is unknown."""
    return 5.0 if time is None else min(LARGEST, max(SMALLEST, AS_RETRAIN * math.sqrt(time)))


def _text(entry: Entry, time: float | None) -> str:
    name = shortened(entry.label, 150)
    return name if time is None or entry.is_reference else f"{name} {time:.2g}{TIMES}"


def _draw(sheet: Sheet, spots: list[Spot], across: Definition, upwards: Definition) -> None:
    x, y = _scales(spots)
    _draw_axes(sheet, x, y, across, upwards)
    named_ones = told(spots)
    for spot in named_ones:
        sheet.lines(_bars(spot, x, y), spot.entry.colour, 0.8)
    for spot in sorted(spots, key=lambda spot: -spot.radius):  # a large mark must not hide a small one
        at = (x(spot.across.value), y(spot.upwards.value))
        sheet.marks([at], spot.entry.marker, 2 * spot.radius, spot.entry.colour)
    _draw_names(sheet, named_ones, x, y)


def told(spots: list[Spot]) -> list[Spot]:
    """Return whose names and intervals are drawn: everybody's, or the references and the first ones of too many."""
    methods = [spot for spot in spots if not spot.entry.is_reference]
    if len(methods) <= MOST_TOLD:
        return spots
    return [*(spot for spot in spots if spot.entry.is_reference), *methods[:MOST_TOLD]]


def _draw_names(sheet: Sheet, spots: list[Spot], x: Scale, y: Scale) -> None:
    spots = sorted(spots, key=lambda spot: not spot.entry.is_reference)  # they get the best places
    crowded = len(spots) > MANY
    texts = [shortened(spot.entry.label, 150) if crowded else spot.text for spot in spots]
    size = TEXT - 1.5 if crowded else TEXT
    places = [
        ((x(spot.across.value), y(spot.upwards.value)), spot.radius, text)
        for spot, text in zip(spots, texts, strict=True)
    ]
    bars = [_around(bar) for spot in spots for bar in _bars(spot, x, y)]
    for spot, (at, radius, _), label in zip(spots, places, place_labels(places, bars, FRAME, size), strict=True):
        _draw_leader(sheet, at, radius, label)
        colour = MUTED if spot.entry.status == "failed" else INK
        sheet.text(label.at, label.text, colour.light, label.anchor, size, bold=spot.entry.method == RETRAIN)


def _scales(spots: list[Spot]) -> tuple[Scale, Scale]:
    heard = [spot for spot in spots if spot.entry.status != "failed"] or spots
    left, right = _limits([spot.across for spot in heard], math.inf)
    low, high = _limits([spot.upwards for spot in heard], 1.0)
    root = left >= 0 and is_skewed([spot.across.value for spot in heard])
    room = LARGEST + 4
    return (
        Scale(left, right, FRAME.left + room, FRAME.right - room, root),
        Scale(low, high, FRAME.bottom - room, FRAME.top + room),
    )


def _limits(found: list[Estimate], highest: float) -> tuple[float, float]:
    """Return limits that hold all means, and of the intervals what leaves room to tell the means apart."""
    values = [one.value for one in found]
    room = (max(values) - min(values)) * ROOM_FOR_INTERVALS
    ends = (end for one in found for end in (one.low, one.high) if end is not None)
    inside = [min(max(end, min(values) - room), max(values) + room) for end in ends]
    return bounded(span([*values, *inside]) or (0.0, 1.0), values, highest)


def _is_in_sight(spot: Spot, x: Scale, y: Scale) -> bool:
    return x.holds(spot.across.value) and y.holds(spot.upwards.value)


def _draw_axes(sheet: Sheet, x: Scale, y: Scale, across: Definition, upwards: Definition) -> None:
    bottom, left = FRAME.bottom, FRAME.left
    sheet.lines([[(x.start, bottom), (x.end, bottom)], [(left, y.start), (left, y.end)]], RULE.light)
    for one in x.ticks(44):
        sheet.line((x(one), bottom), (x(one), bottom + 4), RULE.light)
        sheet.text((x(one), bottom + 17), tick(one), MUTED.light, "center")
    for one in y.ticks(36):
        sheet.line((left - 4, y(one)), (left, y(one)), RULE.light)
        sheet.text((left - 7, y(one) + 4), tick(one), MUTED.light, "right")
    note = f"{named(across)} ({across.label})" + (", square-root scale" if x.root else "")
    sheet.text((FRAME.right, bottom + 36), note, anchor="right")
    sheet.text((0, 13), f"{named(upwards)} ({upwards.label})")


def _bars(spot: Spot, x: Scale, y: Scale) -> list[list[Point]]:
    """Return the intervals as lines, horizontal and vertical."""
    at_x, at_y = x(spot.across.value), y(spot.upwards.value)
    bars = []
    if spot.across.low is not None and spot.across.high is not None:
        bars.append([(x(x.cut(end)), at_y) for end in (spot.across.low, spot.across.high)])
    if spot.upwards.low is not None and spot.upwards.high is not None:
        bars.append([(at_x, y(y.cut(end))) for end in (spot.upwards.low, spot.upwards.high)])
    return bars


def _around(bar: list[Point]) -> Box:
    (x0, y0), (x1, y1) = bar
    return Box(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)


def _draw_leader(sheet: Sheet, at: Point, radius: float, label: Label) -> None:
    """Draw a line from a mark to its label if they are far apart."""
    end_x = min(max(at[0], label.box.left), label.box.right)
    end_y = min(max(at[1], label.box.top), label.box.bottom)
    distance = math.hypot(end_x - at[0], end_y - at[1])
    if distance > radius + 8:
        start = radius / distance
        begin = (at[0] + (end_x - at[0]) * start, at[1] + (end_y - at[1]) * start)
        sheet.line(begin, (end_x, end_y), MUTED.light, 0.5)
