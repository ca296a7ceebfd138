"""Numbers as text: as many digits as their interval bears."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

MINUS, NONE = "\u2212", "\u2013"


def decimals(values: Iterable[float | None], halves: Iterable[float | None] = ()) -> int:
    """Return how many decimals a column of values deserves.

    From the median half-width of their intervals, to two digits if it begins with less than 3.55, else to
    one (the rule of the Particle Data Group), but no more than 3; without intervals three significant
    digits. Then as many more, up to 4, as the smallest value needs for one.
    """
    known = [abs(value) for value in values if value is not None and math.isfinite(value) and abs(value) > 1e-9]
    widths = [half for half in halves if half is not None and math.isfinite(half) and half > 1e-9]
    if not known:
        return 2
    places = _of_width(median(widths)) if widths else 2 - _power(max(known))
    return max(0, min(3, places), min(4, -_power(min(known))))


def _of_width(half: float) -> int:
    power = _power(half)
    return -power + (half / 10.0**power < 3.55)


def _power(value: float) -> int:
    return math.floor(math.log10(value))


def fixed(value: float | None, places: int) -> str:
    """Return a value with that many decimals, a dash if there is none, `<0.0001` rather than a false zero."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{abs(value):.{places}f}"
    if abs(value) > 1e-9 and float(text) == 0:
        return f"{'>' + MINUS if value < 0 else '<'}{10.0**-places:.{places}f}"
    return (MINUS if value < 0 and float(text) != 0 else "") + text


def bracket(low: float | None, high: float | None, places: int) -> str:
    """Return an interval as `[0.949, 0.957]`, or nothing if it is not known."""
    return "" if low is None or high is None else f"[{fixed(low, places)}, {fixed(high, places)}]"


def tick(value: float) -> str:
    """Return the label of a tick."""
    return f"{value:g}".replace("-", MINUS)


def place(rank: float | None) -> str:
    """Return a rank: `2`, or `1.5` where two share the first place; a dash if there is none."""
    return NONE if rank is None else f"{rank:g}"


def places(rank: float | None, low: float | None, high: float | None) -> str:
    """Return a rank by its interval in whole places, such as 1 to 3; by itself where that is unknown."""
    if low is None or high is None:
        return place(rank)
    first, last = math.floor(low), math.ceil(high)
    return str(first) if first == last else f"{first}{NONE}{last}"


def several(count: int, noun: str) -> str:
    """Return `1 seed` or `3 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
