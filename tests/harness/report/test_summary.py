"""Means and intervals are those of the ranking, whoever computes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from harness.report import ReportData
from harness.report.summary import dots, prefer, summarise

METRICS = ("retention_deviation", "indiscernibility_val")
KEY = ["metric", "method", "config"]
CELLS = (("digits", "random:0.1", "cnn_small"), ("digits", "class:3", "cnn_small"))


def test_values_and_intervals_agree_with_the_ranking(make: Callable[..., ReportData]) -> None:
    data = make(cells=CELLS, seeds=4)
    own = summarise(data.trials, METRICS).sort(KEY)
    ranked = data.rankings.filter(pl.col("group") == "overall", pl.col("metric").is_in(METRICS)).sort(KEY)
    assert own.select(KEY).equals(ranked.select(KEY))
    assert own["value"].to_numpy() == pytest.approx(ranked["value"].to_numpy(), abs=1e-12)
    width = (ranked["high"] - ranked["low"]).to_numpy()
    assert np.all(np.abs(own["low"].to_numpy() - ranked["low"].to_numpy()) <= 0.25 * width + 1e-9)


def test_a_mean_is_over_cells_of_the_means_over_seeds(make: Callable[..., ReportData]) -> None:
    data = make(cells=CELLS, failing=("ct",))
    own = data.trials.filter(pl.col("method") == "ct", pl.col("metric") == "accuracy_test").drop_nulls("value")
    by_hand = np.mean([np.mean(part["value"].to_numpy()) for part in own.partition_by("scenario")])
    found = summarise(data.trials, ["accuracy_test"]).filter(pl.col("method") == "ct")
    assert found["value"][0] == pytest.approx(by_hand, abs=1e-12)


def test_one_seed_has_no_interval_and_what_is_missing_has_no_row(make: Callable[..., ReportData]) -> None:
    found = summarise(make(seeds=1, timed=False).trials, ["accuracy_test", "time_ratio"])
    assert found["low"].null_count() == found["high"].null_count() == found.height
    assert set(found["metric"]) == {"accuracy_test"}


def test_dots_are_seeds_of_one_cell_and_cells_of_several(make: Callable[..., ReportData]) -> None:
    one, two = make(), make(cells=CELLS)
    pick = (pl.col("method") == "msg", pl.col("metric") == "accuracy_test")
    assert sorted(dots(one.trials).filter(*pick)["value"]) == sorted(one.trials.filter(*pick)["value"])
    means = two.trials.filter(*pick).group_by("scenario").agg(pl.col("value").mean())["value"]
    assert sorted(dots(two.trials).filter(*pick)["value"]) == pytest.approx(sorted(means))


def test_searches_of_one_method_count_as_one(make: Callable[..., ReportData]) -> None:
    trials = make(cells=CELLS).trials
    searched = trials.with_columns(
        config=pl.when(pl.col("method") == "msg").then(pl.lit("search:") + pl.col("scenario")).otherwise("config")
    )
    found = summarise(searched, ["accuracy_test"]).filter(pl.col("method") == "msg")
    assert found["config"].to_list() == ["search"]
    assert found["value"][0] == pytest.approx(
        summarise(trials, ["accuracy_test"]).filter(pl.col("method") == "msg")["value"][0]
    )


def test_the_ranking_has_the_last_word(data: ReportData) -> None:
    altered = data.rankings.with_columns(value=pl.col("value") + 1)
    found = prefer(summarise(data.trials, METRICS), altered)
    joined = found.join(altered, on=KEY, suffix="_ranked")
    assert joined.height >= 2 * 4
    assert joined["value"].equals(joined["value_ranked"])
