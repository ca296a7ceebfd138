"""The sections of probes, costs and composite scores, on numbers made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from harness.metrics import TRIAL
from harness.report import ReportData
from harness.report.costs import COMPOSITES, COSTS
from harness.report.page import render
from harness.report.probes import PROBES

TITLES = ("What comes back", "What a new head tells apart", "Cost without a clock", "Composite scores of others")


def with_numbers(data: ReportData, metrics: Sequence[str]) -> ReportData:
    """Return the data with some metrics of each trial, by its seed."""
    trials = data.trials.unique(TRIAL).sort(TRIAL).drop("metric")
    rows = trials.join(pl.DataFrame({"metric": metrics}), how="cross")
    rows = rows.with_columns(value=0.4 + pl.col("seed") / 100, flag=pl.lit(None, pl.String))
    others = data.trials.filter(~pl.col("metric").is_in(metrics))
    return dataclasses.replace(data, trials=pl.concat([others, rows.select(others.columns)]))


def test_each_number_has_its_one_place_and_its_definition(data: ReportData, parse: Callable[[str], Any]) -> None:
    metrics = (*PROBES, *COSTS, *COMPOSITES)
    page = parse(render(with_numbers(data, metrics)))
    tables = {caption.partition(":")[0]: rows for caption, rows in page.tables.items() if caption.startswith(TITLES)}
    assert tuple(tables) == TITLES
    assert sum(len(rows[0]) - 1 for rows in tables.values()) == len(metrics)
    assert all("retrain" in {row[0].text for row in rows} for rows in tables.values())
    anchors = {one.attributes.get("id") for one in page.elements}
    assert {f"def-{metric.replace('_', '-')}" for metric in metrics} <= anchors
    others = [rows for caption, rows in page.tables.items() if caption.startswith("The other numbers")]
    heads = {cell.text for rows in tables.values() for cell in rows[0][1:]}
    assert not heads & {cell.text for rows in others[:1] for cell in rows[0]}


@pytest.mark.parametrize(("metrics", "anchor"), [(PROBES, "probes"), (COSTS, "costs"), (COMPOSITES, "composites")])
def test_a_section_is_there_where_its_numbers_are(data: ReportData, metrics: Sequence[str], anchor: str) -> None:
    bare = dataclasses.replace(data, trials=data.trials.filter(~pl.col("metric").is_in(metrics)))
    assert f'id="{anchor}"' in render(with_numbers(data, metrics[:1]))
    assert f'id="{anchor}"' not in render(bare)
