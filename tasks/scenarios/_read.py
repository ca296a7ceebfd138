"""How the arguments of scenarios are read."""

from __future__ import annotations

import math

DIGITS = 9
"""Nothing here is counted in more."""


def is_id(text: str) -> bool:
    """Whether a text is a whole number from 0, of a size that something here may have."""
    return text.isascii() and text.isdigit() and len(text) <= DIGITS


def share(text: str) -> float:
    """Return the number in a text, NaN where there is none: it lies in no range then."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def written(number: float) -> str:
    """Return a number as it is written in a scenario: 0.1, and 1 rather than 1.0."""
    return repr(number).removesuffix(".0")
