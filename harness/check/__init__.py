"""What every method promises, on a problem of 64 images: `harness check METHOD`, and the tests of the built-in ones."""

from __future__ import annotations

from harness.check.promises import (
    OF_EVERY_CASE,
    OF_EVERY_METHOD,
    QUICK,
    Broken,
    Case,
    cases,
    has_effect,
    searched_names,
)
from harness.check.verdicts import Verdict, check_method

__all__ = [
    "OF_EVERY_CASE",
    "OF_EVERY_METHOD",
    "QUICK",
    "Broken",
    "Case",
    "Verdict",
    "cases",
    "check_method",
    "has_effect",
    "searched_names",
]
