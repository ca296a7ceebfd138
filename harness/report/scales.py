"""From values to pixels, and the ticks between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to pixels from `start` to `end`, linearly or by the square root.

    The square root serves deviations: it shows 0, which a logarithm cannot, and keeps small values apart.
    """

    low: float
    high: float
    start: float
    end: float
    root: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, which may lie outside."""
        low, high, at = (self._bent(one) for one in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    def _bent(self, value: float) -> float:
        return math.copysign(math.sqrt(abs(value)), value) if self.root else value

    def holds(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low <= value <= self.high

    def cut(self, value: float) -> float:
        """Return the value, or the nearer end if it lies outside."""
        return min(max(value, self.low), self.high)

    def ticks(self, room: float = 38.0) -> list[float]:
        """Return round values inside, at least `room` pixels apart, or less if that leaves not even two."""
        if self.high <= self.low:
            return [self.low]
        candidates = _ladder(self.high) if self.root else self._steps(room)
        chosen: list[float] = []
        for tick in candidates:
            if self.holds(tick) and all(abs(self(tick) - self(other)) >= room for other in chosen):
                chosen.append(tick)
        return sorted(chosen) if len(chosen) > 1 or room < 10 else self.ticks(room / 2)

    def _steps(self, room: float) -> list[float]:
        step = _round_up((self.high - self.low) * room / abs(self.end - self.start))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * at, 12) for at in range(first, last + 1)]


def _ladder(high: float) -> list[float]:
    """Return 0 and the values 1, 2, 5 times powers of ten up to `high`, the largest first after 0."""
    top = math.floor(math.log10(high))
    powers = range(top, top - 5, -1)
    return [0.0, *(round(digit * 10.0**power, 12) for power in powers for digit in (5, 2, 1))]


def _round_up(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))


def span(values: Iterable[float | None], margin: float = 0.04) -> tuple[float, float] | None:
    """Return the range of the values that are there, with a margin; None if there is none.

    The margin does not cross 0, nor 1 from below: shares and accuracies end there.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    room = (high - low) * margin or abs(low) * margin or margin
    return (
        0.0 if 0 <= low < room else low - room,
        1.0 if 1 - room < high <= 1 else high + room,
    )


def bounded(limits: tuple[float, float], seen: Sequence[float], most: float) -> tuple[float, float]:
    """Return limits cut at 0 if no value that was seen is negative, and at `most` if none is above.

    Intervals may pass a bound that no value can; they need not stretch a scale beyond it.
    """
    low, high = limits
    low = max(low, 0.0) if min(seen) >= 0 else low
    return low, min(high, most) if max(seen) <= most else high


def is_skewed(values: Sequence[float]) -> bool:
    """Whether values, none negative, are so unequal that a linear scale would press most of them together."""
    ordered = sorted(values)
    return bool(ordered) and ordered[0] >= 0 and ordered[-1] > 6 * max(ordered[len(ordered) // 2], 1e-12)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places moved as little as needed to be `gap` apart, in the same order."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = [places[at] for at in order]
    for _ in range(50):
        for at in range(1, len(moved)):
            lack = gap - (moved[at] - moved[at - 1])
            if lack > 1e-6:
                moved[at - 1] -= lack / 2
                moved[at] += lack / 2
    result = [0.0] * len(places)
    for at, place in zip(order, moved, strict=True):
        result[at] = place
    return result


def spread_within(places: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Return places spread by a gap each, between a top and a bottom that are far enough apart."""
    result = spread(places, gap)
    order = sorted(range(len(result)), key=lambda at: result[at])
    highest, lowest = top, bottom
    for at in order:
        result[at] = max(result[at], highest)
        highest = result[at] + gap
    for at in reversed(order):
        result[at] = min(result[at], lowest)
        lowest = result[at] - gap
    return result
