"""Where to write the names of points so that they cover neither points nor each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report.sheet import Anchor, Point, width_of


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Return the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def distance(self, point: Point) -> float:
        """Return how far a point is from this box; 0 inside."""
        x, y = point
        return math.hypot(max(self.left - x, 0.0, x - self.right), max(self.top - y, 0.0, y - self.bottom))

    def outside(self, other: Box) -> float:
        """Return how far this box sticks out of another."""
        across = max(0.0, other.left - self.left) + max(0.0, self.right - other.right)
        return across + max(0.0, other.top - self.top) + max(0.0, self.bottom - other.bottom)


@dataclass(frozen=True)
class Label:
    """A name and where its base line goes."""

    text: str
    at: Point
    anchor: Anchor
    box: Box


def place_labels(
    points: Sequence[tuple[Point, float, str]], lines: Sequence[Box], frame: Box, size: float
) -> list[Label]:
    """Return a label for each point (its place, radius and name), in order.

    Greedy: each takes the place where it covers least of the marks, lines and earlier labels and is not
    nearer to another point than to its own; the nearest among equals.
    """
    marks = [Box(x - radius, y - radius, x + radius, y + radius) for (x, y), radius, _ in points]
    labels: list[Label] = []
    for at, radius, text in points:
        obstacles = [(mark, 1.0) for mark in marks] + [(line, 0.15) for line in lines]
        obstacles += [(label.box, 1.0) for label in labels]
        others = [other for other, _, _ in points if other != at]
        labels.append(_cheapest(_options(at, radius, text, size), _Cost(at, others, obstacles, frame)))
    return labels


@dataclass(frozen=True)
class _Cost:
    """What speaks against a place for the label of the point `at`; `obstacles` are boxes with weights."""

    at: Point
    others: Sequence[Point]
    obstacles: Sequence[tuple[Box, float]]
    frame: Box

    def of(self, box: Box) -> float:
        covered = sum(weight * box.overlap(other) for other, weight in self.obstacles)
        own = box.distance(self.at)
        confusing = sum(40.0 for other in self.others if box.distance(other) < own)
        return covered + confusing + 20 * box.outside(self.frame)


def _cheapest(options: Iterator[Label], cost: _Cost) -> Label:
    """Return the label of least cost; a place further down the list costs a little too."""
    best, least = next(options), math.inf
    for place, option in enumerate([best, *options]):
        if place >= least:
            break
        total = cost.of(option.box) + place
        if total < least:
            best, least = option, total
    return best


def _options(at: Point, radius: float, text: str, size: float) -> Iterator[Label]:
    (x, y), width = at, width_of(text, size)
    for away in (4.0, 12.0, 22.0, 34.0, 48.0, 64.0, 82.0):
        reach = radius + away
        for turn in (0, -20, 20, -40, 40, -60, 60):
            across, down = reach * math.cos(math.radians(turn)), reach * math.sin(math.radians(turn))
            yield _label(text, x + across, y + down, "left", width, size)
            yield _label(text, x - across, y + down, "right", width, size)
        yield _label(text, x, y - reach - size / 2, "center", width, size)
        yield _label(text, x, y + reach + size / 2, "center", width, size)


def _label(text: str, x: float, middle: float, anchor: Anchor, width: float, size: float) -> Label:
    left = x - {"left": 0.0, "center": width / 2, "right": width}[anchor]
    box = Box(left, middle - size * 0.55, left + width, middle + size * 0.55)
    return Label(text, (x, middle + size * 0.35), anchor, box)
