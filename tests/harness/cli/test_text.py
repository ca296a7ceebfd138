"""Columns, times and sizes as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.text import columns, duration, plural, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (124.4, "2 min 04 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (11100, "3 h 05 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_a_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_no_time_has_sixty_seconds_or_minutes(seconds: float) -> None:
    assert " 60 " not in f" {duration(seconds)} "
    assert "60.0 s" not in duration(seconds)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")],
)
def test_a_size(count: float, text: str) -> None:
    assert size(count) == text


def test_a_count() -> None:
    assert [plural(n, "unit") for n in (0, 1, 2, 12345)] == ["0 units", "1 unit", "2 units", "12,345 units"]


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(st.text("abc d", max_size=6), min_size=width, max_size=width), min_size=1, max_size=6
        )
    )
)
def test_cells_of_one_column_begin_at_one_place(rows: list[list[str]]) -> None:
    lines = columns(rows[1:], rows[0]).split("\n")
    assert len(lines) == len(rows)
    starts = [0]
    for position in range(len(rows[0]) - 1):
        starts.append(starts[-1] + max(len(row[position]) for row in rows) + 2)
    for row, line in zip(rows, lines, strict=True):
        assert line == line.rstrip()
        for cell, start in zip(row, starts, strict=True):
            assert line[start:].startswith(cell.rstrip())


def test_nothing_is_no_table() -> None:
    assert columns([]) == ""
