"""What a comparison with retrain says of each trial, on frames made by hand."""

from __future__ import annotations

from typing import Any

import polars as pl

from harness.metrics import LIKENESS_METRICS, LIKENESS_PARTS, definition, derive, usable
from harness.ranking import rank_study


def stored(metric: str) -> tuple[str, str]:
    name, _, part = metric.rpartition("_")
    return (name, part) if part in LIKENESS_PARTS else (metric, "all")


STORED = {stored(metric): place / 100 for place, metric in enumerate(LIKENESS_METRICS)}


def test_each_trial_gets_the_numbers_of_its_own_comparison_or_the_reason_why_not(tables: Any) -> None:
    for method in ("retrain", "original", "ct", "msg", "finetune", "scrub"):
        tables.trial(method)
    before = derive(*tables.frames())
    assert not before["metric"].is_in(LIKENESS_METRICS).any()  # no row where nobody asked
    for method in ("retrain", "ct"):
        tables.add("compare", method, STORED)
    tables.add("compare", "msg", dict.fromkeys(STORED))
    tables.add("compare", "finetune", status="failed")
    rows = derive(*tables.frames())
    own = rows.filter(pl.col("metric").is_in(LIKENESS_METRICS))
    for method in ("retrain", "ct"):
        found = dict(own.filter(method=method).select("metric", "value").rows())
        assert found == {metric: STORED[stored(metric)] for metric in LIKENESS_METRICS}
    flags = dict(own.select("method", "flag").unique().rows())
    assert flags == {
        **dict.fromkeys(("retrain", "ct")),
        **{"msg": "not computable", "finetune": "comparison failed"},
        **dict.fromkeys(("original", "scrub"), "not measured"),
    }
    assert usable(rows, {"digits": 10})["usable"].all()
    ranked, without = (
        rank_study(one, study="s", classes={"digits": 10}).drop("value", "low", "high") for one in (rows, before)
    )
    assert ranked.equals(without)  # shown, never ranked


def test_the_best_value_of_each_is_that_of_retrain() -> None:
    directions = {metric: definition(metric).direction for metric in LIKENESS_METRICS}
    assert {metric for metric, one in directions.items() if one == "closest"} == {"zrf_forget", "zrf_published_forget"}
    alike = ("completeness", "cka", "images")
    assert {metric for metric, one in directions.items() if one == "higher"} == {
        metric for metric in LIKENESS_METRICS if metric.startswith(alike)
    }
    for metric in ("js_divergence_forget", "activation_distance_test", "completeness_retain", "cka_forget"):
        assert "retrain of the next seed" in definition(metric).reference
