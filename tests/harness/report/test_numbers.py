"""Numbers are shown as they are, with as many digits as their interval bears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.numbers import MINUS, NONE, bracket, decimals, fixed, places


@pytest.mark.parametrize(
    ("values", "halves", "expected"),
    [
        ([0.953], [0.004], 3),
        ([0.953], [0.014], 3),
        ([0.95], [0.05], 2),
        ([0.9534], [0.0002], 3),
        ([12.345], [3.0], 0 + 1),
        ([123.4], [50.0], 0),
        ([0.9531, 0.0004], [0.1], 4),
        ([0.123456], [], 3),
        ([12.34], [], 1),
        ([5400.0], [], 0),
        ([0.0, None], [None], 2),
        ([0.0, 1e-17, 0.5], [0.004, 0.0], 3),
    ],
)
def test_decimals(values: list[float | None], halves: list[float | None], expected: int) -> None:
    assert decimals(values, halves) == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_a_shown_number_is_the_number_rounded_and_never_a_false_zero(value: float, digits: int) -> None:
    text = fixed(value, digits)
    if text[0] in "<>":
        assert abs(value) < 0.5 * 10.0**-digits + 1e-12
        assert value != 0
        return
    assert float(text.replace(MINUS, "-")) == pytest.approx(value, abs=0.5 * 10.0**-digits * (1 + 1e-9) + 1e-9)
    assert text != MINUS + "0"


def test_what_is_not_there_is_a_dash_or_nothing() -> None:
    assert fixed(None, 2) == fixed(float("nan"), 2) == NONE
    assert bracket(None, 1.0, 2) == bracket(0.0, None, 2) == ""
    assert bracket(-0.1, 0.25, 2) == f"[{MINUS}0.10, 0.25]"


@pytest.mark.parametrize(
    ("rank", "low", "high", "text"),
    [
        (2.0, 1.0, 3.0, f"1{NONE}3"),
        (2.5, 2.0, 2.5, f"2{NONE}3"),
        (1.0, 1.0, 1.0, "1"),
        (1.5, None, None, "1.5"),
        (None, None, None, NONE),
    ],
)
def test_places(rank: float | None, low: float | None, high: float | None, text: str) -> None:
    assert places(rank, low, high) == text
