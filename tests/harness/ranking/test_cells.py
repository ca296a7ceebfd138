"""The table as the paper prints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harness.metrics import TRIAL
from harness.ranking import CELLS_SCHEMA, cell_table, rank

Frame = Callable[..., pl.DataFrame]
NAN = float("nan")
CELLS = [("digits", "random:0.1", "cnn"), ("fashion", "class:3", "cnn")]
DEVIATION: dict[str, Any] = {
    "retrain": [[0.0, 0.0], [0.0, 0.0]],
    "original": [[0.5, 0.7], [0.5, 0.5]],
    "a": [[0.1, 0.3], [0.9, 0.9]],
    "b": [[0.25, 0.25], [0.1, NAN]],
    "c": [[0.9, 0.9], [0.2, 0.2]],
    "d": [[1.8, 1.8], [0.3, 0.3]],
}


@pytest.fixture
def values(frame: Frame) -> pl.DataFrame:
    private = {method: [[1.0, 0.8]] * 2 for method in DEVIATION}
    return pl.concat(
        [
            frame(DEVIATION, cells=CELLS),
            frame(private, metric="indiscernibility_val", cells=CELLS),
            frame({method: [[0.9, 0.92]] * 2 for method in DEVIATION}, metric="accuracy_retain", cells=CELLS),
        ]
    )


def row(table: pl.DataFrame, dataset: str, method: str) -> dict[str, Any]:
    return table.filter(dataset=dataset, method=method).row(0, named=True)


def test_means_spreads_and_groups_by_hand(values: pl.DataFrame) -> None:
    table = cell_table(values)
    assert table.schema == CELLS_SCHEMA
    assert table.height == 12
    a = row(table, "digits", "a")
    assert (a["retention_deviation"], a["retention_deviation_sd"]) == pytest.approx((0.2, 0.02**0.5))
    assert (a["accuracy_retain"], a["accuracy_retain_sd"]) == pytest.approx((0.91, 0.0002**0.5))
    assert (a["status"], a["seeds"], a["accuracy_test"]) == ("ranked", 2, None)
    found = {method: row(table, "digits", method)["retention_deviation_group"] for method in DEVIATION}
    assert found == {"retrain": None, "original": None, "a": "G1", "b": "G1", "c": "G2", "d": "G3"}
    private = {row(table, "digits", method)["indiscernibility_val_group"] for method in "abcd"}
    assert private == {"G1"}
    assert row(table, "digits", "original")["status"] == "reference"


def test_a_method_fails_where_it_failed_and_keeps_the_values_it_has(values: pl.DataFrame) -> None:
    table = cell_table(values)
    b = row(table, "fashion", "b")
    assert (b["status"], b["seeds"], b["retention_deviation_group"]) == ("failed", 1, "Failed")
    assert (b["retention_deviation"], b["retention_deviation_sd"]) == (0.1, None)
    assert row(table, "digits", "b")["status"] == "ranked"
    usable = values.select(*TRIAL).unique().with_columns(usable=pl.col("method") != "a")
    judged = cell_table(values, usable=usable, failed="majority")
    assert (row(judged, "digits", "a")["status"], row(judged, "digits", "a")["seeds"]) == ("failed", 0)
    assert row(judged, "digits", "a")["retention_deviation"] is None


def test_rows_are_in_order_within_their_cell(values: pl.DataFrame) -> None:
    table = cell_table(values.sample(fraction=1, shuffle=True, seed=3))
    order = {dataset: table.filter(dataset=dataset)["method"].to_list() for dataset in ("digits", "fashion")}
    assert order == {
        "digits": ["a", "b", "c", "d", "retrain", "original"],
        "fashion": ["c", "d", "a", "b", "retrain", "original"],
    }


@pytest.mark.parametrize("rule", ["average_linkage", "quantile", "within_one_sd"])
def test_the_groups_are_those_that_the_ranking_counts(values: pl.DataFrame, rule: Any) -> None:
    table = cell_table(values, groups=rule)
    metrics = ("retention_deviation", "indiscernibility_val")
    ranked = rank(values, study="x", metrics=metrics, also=(), groups=rule, draws=20)
    names = {"g1": "G1", "g2": "G2", "g3": "G3", "g_failed": "Failed"}
    for one in ranked.filter(pl.col("metric").is_in(metrics), pl.col("g1").is_not_null()).iter_rows(named=True):
        own = table.filter(method=one["method"])
        if one["group"] != "overall":
            own = own.filter(dataset=one["group"].removeprefix("dataset="))
        counts = dict(own[f"{one['metric']}_group"].value_counts().iter_rows())
        assert {name: one[column] for column, name in names.items() if one[column]} == counts


def test_searched_configs_are_one_competitor(frame: Frame) -> None:
    parts = [frame({"ct": [[0.1, 0.2]]}, cells=[cell], config=f"search:{cell[0]}") for cell in CELLS]
    table = cell_table(pl.concat(parts))
    assert table.select("dataset", "config").rows() == [("digits", "search"), ("fashion", "search")]


def test_nothing_makes_an_empty_table(values: pl.DataFrame) -> None:
    assert cell_table(values.clear()).schema == CELLS_SCHEMA
    assert cell_table(values.filter(method="retrain"))["status"].to_list() == ["reference", "reference"]
