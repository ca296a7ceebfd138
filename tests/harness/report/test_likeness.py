"""The section of likeness to retrain, on numbers made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from harness.metrics import LIKENESS_METRICS, TRIAL
from harness.report import ReportData
from harness.report.page import render

DIVERGENCE = {"msg": 0.02, "ct": 0.31, "retrain": 0.05, "original": 0.11, "gradient_ascent": 0.01}
"""On forget; gradient_ascent fails in this study, and retrain's is the floor."""
FLOOR, FIRST, MORE = "retrain: the floor", "Likeness to retrain", "Likeness in other numbers"


def compared(data: ReportData, values: Mapping[str, float], ratio: float = 20.0) -> ReportData:
    """Return the data with all numbers of likeness the same for a method, but for the images of each feature."""
    trials = data.trials.filter(pl.col("method").is_in(list(values))).unique(TRIAL).sort(TRIAL)
    rows = trials.join(pl.DataFrame({"metric": LIKENESS_METRICS}), how="cross", suffix="_new")
    value = pl.col("method").replace_strict(values, return_dtype=pl.Float64) * (1 + pl.col("seed") / 100)
    is_ratio = pl.col("metric_new").str.starts_with("images_per_feature")
    rows = rows.with_columns(
        metric=pl.col("metric_new"), value=pl.when(is_ratio).then(ratio).otherwise(value), flag=pl.lit(None, pl.String)
    ).select(data.trials.columns)
    return dataclasses.replace(data, trials=pl.concat([data.trials, rows]))


def tables(page: Any) -> dict[str, list[list[Any]]]:
    return {caption: rows for caption, rows in page.tables.items() if caption.startswith((FIRST, MORE))}


def names(rows: list[list[Any]]) -> list[str]:
    return [row[0].text for row in rows[1:]]


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render(compared(data, DIVERGENCE))


def test_methods_are_in_the_order_of_their_divergence_with_the_floor_between_and_what_failed_below(
    html: str, parse: Callable[[str], Any]
) -> None:
    found = tables(parse(html))
    assert [caption.partition(":")[0] for caption in found] == [FIRST, MORE]
    for rows in found.values():
        assert names(rows) == ["msg", FLOOR, "original", "ct", "failed", "gradient_ascent"]
    head = [cell.text for cell in next(iter(found.values()))[0]]
    assert "JS (forget)nat ↓" in "".join(head).replace("\n", "")
    first = next(iter(found.values()))[1]
    assert first[1].text == "0.020[0.020, 0.021]"


def test_each_number_is_defined_on_the_page_and_stands_in_no_other_table(
    html: str, parse: Callable[[str], Any]
) -> None:
    page = parse(html)
    anchors = {one.attributes.get("id") for one in page.elements}
    assert {f"def-{metric.replace('_', '-')}" for metric in LIKENESS_METRICS} <= anchors
    others = [rows for caption, rows in page.tables.items() if caption.startswith("The other numbers")]
    assert not any("JS (" in cell.text for rows in others for row in rows for cell in row)


@pytest.mark.parametrize(("ratio", "warned"), [(2.5, True), (20.0, False)])
def test_few_images_for_a_feature_are_told(data: ReportData, ratio: float, warned: bool) -> None:
    text = render(compared(data, DIVERGENCE, ratio))
    assert ("CKA on test is of 2.5 images a feature: unrelated features would reach about 0.40" in text) == warned


def test_without_a_floor_it_is_said_and_without_a_comparison_there_is_nothing(data: ReportData) -> None:
    text = render(compared(data, {key: value for key, value in DIVERGENCE.items() if key != "retrain"}))
    assert "There is no floor" in text
    assert FLOOR not in text
    assert 'id="likeness"' not in render(data)
