"""The table of the paper and the critical differences on the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harness.ranking import OVERALL, Friedman, counts_text, friedman_tests
from harness.report import ReportData
from harness.report.cells import CAPTION
from harness.report.meanings import read_meanings
from harness.report.nemenyi import headline_tests, nemenyi_panels, refusals
from harness.report.numbers import MINUS
from harness.report.page import render
from harness.report.roster import make_roster
from harness.report.values import COUNTS, RANKS

Parse = Callable[[str], Any]
CELLS = (("digits", "random:0.1", "cnn_small"), ("fashion", "class:3", "cnn_small"))


def number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


@pytest.fixture(scope="module")
def page(data: ReportData, parse: Parse) -> Any:
    return parse(render(data))


def test_the_table_holds_the_numbers_of_the_frame(data: ReportData, page: Any) -> None:
    head, *rows = (row for row in page.tables[CAPTION] if len(row) > 1)
    labels = [cell.text for cell in head]
    assert [label.rstrip("↓↑→ retain01.5") for label in labels[1:5]] == ["RA", "FA", "VA", "TA"]
    shown = {row[0].text: dict(zip(labels, (cell.text for cell in row), strict=True)) for row in rows}
    assert set(shown) == set(data.cells["method"])
    column = next(label for label in labels if label.startswith("RetDev"))
    for own in data.cells.iter_rows(named=True):
        value, _, rest = shown[own["method"]][column].partition("±")
        spread, _, group = rest.partition(" ")
        if own["status"] == "reference":
            continue
        assert group == own["retention_deviation_group"]
        assert number(value) == pytest.approx(own["retention_deviation"], abs=0.0006)
        assert number(spread) == pytest.approx(own["retention_deviation_sd"], abs=0.0006)
    assert "Failed" in shown["gradient_ascent"][column]


def test_a_study_of_several_cells_has_the_table_in_each(make: Callable[..., ReportData], parse: Parse) -> None:
    data = make(cells=CELLS, methods=("msg", "ct", "finetune"))
    found = parse(render(data))
    captions = [element.text for element in found.named("caption")]
    assert captions.count(CAPTION) == 2
    without = parse(render(dataclasses.replace(data, cells=data.cells.clear(), friedman=())))
    assert CAPTION not in [element.text for element in without.named("caption")]


def test_the_ranks_over_several_cells_say_in_how_many_a_method_is_in_each_group(
    make: Callable[..., ReportData], parse: Parse, page: Any
) -> None:
    data = make(cells=CELLS, methods=("msg", "ct", "finetune"))
    head, *rows = parse(render(data)).tables[f"{RANKS}; {COUNTS}"]
    ranked = data.rankings.filter(pl.col("group") == OVERALL, pl.col("metric") == "retention_deviation")
    counted = {row["method"]: counts_text(row) for row in ranked.iter_rows(named=True) if row["rank"] is not None}
    column = next(i for i, cell in enumerate(head) if cell.text.startswith("RetDev"))
    assert {row[0].text for row in rows} == set(counted)
    for row in rows:
        assert row[column].text.endswith(counted[row[0].text] or "no counts")
    assert sum(int(text.split("/")[0]) for text in counted.values() if text) >= len(CELLS)
    assert RANKS in page.tables  # one cell: its groups stand in its own table


def test_the_critical_difference_is_drawn_to_scale(data: ReportData, page: Any, watch: Callable[..., Any]) -> None:
    meanings, roster = read_meanings(data.definitions), make_roster(data.rankings)
    tests = headline_tests(data.friedman, meanings)
    assert [test.metric for test in tests] == ["retention_deviation", "indiscernibility_val"]
    for test, panel in zip(tests, nemenyi_panels(tests, meanings, roster), strict=True):
        spy = watch(panel)
        assert any(panel.words == svg.attributes.get("aria-label") for svg in page.named("svg"))
        at = {}
        for method, mean in zip(test.methods, test.mean_ranks, strict=True):
            entry = roster[method]
            (((x, _),), *_) = next(iter(spy.of("marks", entry.colour)))
            at[mean] = x
            (bar,) = [args for args in spy.of("line", entry.colour) if args[-1] == 3]
            assert bar[0][0] <= x <= bar[1][0]
            assert f"{entry.label} {mean:.2f}" in panel.words
        (first, left), (last, right) = min(at.items()), max(at.items())
        unit = (right - left) / (last - first)
        assert test.critical_difference is not None
        longest = max(args[1][0] - args[0][0] for args in spy.drawn["line"] if args[-1] == 3)
        assert longest <= unit * test.critical_difference + 1e-6
        assert f"CD {test.critical_difference:.2f}" in spy.texts


def test_methods_whose_bars_overlap_are_those_of_a_clique(make: Callable[..., ReportData]) -> None:
    data = make(methods=("a", "b", "c"), seeds=12)
    (test, _) = data.friedman
    assert test.critical_difference is not None
    means = dict(zip(test.methods, test.mean_ranks, strict=True))
    for one in test.methods:
        for other in test.methods:
            overlap = abs(means[one] - means[other]) < test.critical_difference
            assert overlap == (one == other or any({one, other} <= set(clique) for clique in test.cliques))


def test_the_page_says_why_there_is_no_test(make: Callable[..., ReportData], parse: Parse) -> None:
    data = make(methods=("a", "b"), seeds=1)
    assert "No Friedman test by RetDev: 1 seed to compare in; the test needs at least 2 cells or 2 seeds." in render(
        data
    )
    assert len(refusals(data.friedman, read_meanings(data.definitions))) == 2


def test_the_gap_stands_in_where_a_class_is_forgotten(data: ReportData) -> None:
    meanings = read_meanings(data.definitions)
    values = data.trials.with_columns(value=pl.when(pl.col("metric") != "retention_deviation").then("value"))
    tests = friedman_tests(values, ("retention_deviation", "gap_to_retrain", "indiscernibility_val"))
    assert [test.metric for test in headline_tests(tests, meanings)] == ["gap_to_retrain", "indiscernibility_val"]
    assert headline_tests([Friedman("overall", "secret", "cells", 3)], meanings) == []
