"""The table in units of retrain's noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harness.report import ReportData
from harness.report.noise import CAPTION, FEW_SEEDS
from harness.report.numbers import MINUS
from harness.report.page import render

Parse = Callable[[str], Any]
TITLE = CAPTION.format(seeds=3) + FEW_SEEDS


def numbers(text: str) -> list[float]:
    plain = text.replace(MINUS, "-").replace("[", " ").replace("]", " ").replace(",", " ")
    return [float(part) for part in plain.split()]


def test_every_metric_of_every_method_stands_in_it_with_its_interval(data: ReportData, parse: Parse) -> None:
    head, *rows = parse(render(data)).tables[TITLE]
    known = data.spread.filter(pl.col("value").is_not_null(), pl.col("method") != "retrain")
    assert len(head) == 1 + known["metric"].n_unique()
    shown = {row[0].text: row[1:] for row in rows}
    assert set(shown) == set(known["method"])
    accuracy = next(i for i, cell in enumerate(head[1:]) if cell.text.startswith("test acc"))
    for own in known.filter(metric="accuracy_test").iter_rows(named=True):
        wanted = [own["value"], own["low"], own["high"]]
        assert numbers(shown[own["method"]][accuracy].text) == pytest.approx(wanted, abs=0.051)


def test_one_seed_has_no_noise_and_no_table(make: Callable[..., ReportData], parse: Parse) -> None:
    assert not [caption for caption in parse(render(make(seeds=1))).tables if caption.startswith(CAPTION[:30])]


def test_the_glossary_defines_it_where_it_stands(data: ReportData) -> None:
    assert "Glass" in render(data)
    assert "Glass" not in render(dataclasses.replace(data, spread=data.spread.clear()))
