"""Figures inside the page: small, in the page's colours, with text as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.palette import INK, METHODS
from harness.report.sheet import Panel, Sheet, compose
from harness.report.svg import Inliner, _shorter

HOSTILE = "</text><script>alert(1)</script> & $\\frac{ \"quoted\" 'x'"


def panel(text: str = "method", colour: str = METHODS[0].light) -> Panel:
    def draw(sheet: Sheet) -> None:
        sheet.lines([[(1, 2), (30.25, 2), (40, 9)], [(5, 5), (6, 6)]], colour, 1.5, (3, 3))
        sheet.marks([(10, 10), (20, 12)], "D", 7, colour)
        sheet.dots([(10, 20), (12.125, 20)], 3.8, colour)
        sheet.text((4, 30), text, INK.light, bold=True)

    return Panel(60, 40, f"what is seen: {text}", draw)


def inlined(*panels: Panel) -> tuple[list[str], Inliner]:
    inliner = Inliner()
    return [str(inliner.inline(compose([one]), one.words)) for one in panels], inliner


def test_text_stays_text_and_colours_become_those_of_the_page() -> None:
    (svg,), inliner = inlined(panel())
    assert re.search(r"<text [^>]*>method</text>", svg)
    style = str(inliner.style_sheet())
    assert f"var(--{METHODS[0].variable})" in style
    assert "var(--ink)" in style
    assert "#" not in style.replace("url(#", "")
    assert "font-family" not in style
    assert 'viewBox="0 0 60 40"' in svg


def test_lines_and_marks_lie_where_they_were_drawn() -> None:
    (svg,), inliner = inlined(panel())
    assert 'd="M1 2h29.2l9.8 7M5 5l1 1"' in svg
    assert re.search(r'<use class="\w+" href="#k0" x="10" y="10"/><use class="\w+" href="#k0" x="20" y="12"/>', svg)
    assert 'd="M10 20h0M12.1 20h0"' in svg
    assert str(inliner.shapes()).startswith('<path id="k0" d="M')


def test_what_occurs_again_is_written_once() -> None:
    pictures, inliner = inlined(panel(), panel(), panel(colour=METHODS[1].light))
    assert pictures[0] == pictures[1]
    assert str(inliner.shapes()).count("<path") == 1
    assert not re.findall(r"style=|id=|stroke=", "".join(pictures))


def test_hostile_text_is_escaped_and_never_read_as_a_formula() -> None:
    (svg,), _ = inlined(panel(HOSTILE))
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;") == 2
    assert "$\\frac{" in svg


def test_an_ornament_is_hidden_from_screen_readers() -> None:
    (svg,), _ = inlined(Panel(10, 10, "", lambda sheet: sheet.marks([(5, 5)])))
    assert 'aria-hidden="true"' in svg
    assert "aria-label" not in svg


numbers = st.floats(-999, 999, allow_nan=False).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6))
def test_a_shorter_path_is_the_same_path(points: list[tuple[float, float]]) -> None:
    text = "M " + " \nL ".join(f"{x:.6f} {y:.6f}" for x, y in points) + " "
    shorter = _shorter(text)
    assert len(shorter) <= len(text)
    found = [(0.0, 0.0)]
    for command, x, y in re.findall(r"([Mlh])(-?[\d.]+)(?: ?(-?[\d.]+))?", shorter):
        before = found[-1] if command != "M" else (0.0, 0.0)
        found.append((before[0] + float(x), before[1] + float(y or 0)))
    for (x, y), (short_x, short_y) in zip(points, found[1:], strict=True):
        assert short_x == pytest.approx(x, abs=0.0501)
        assert short_y == pytest.approx(y, abs=0.0501)
