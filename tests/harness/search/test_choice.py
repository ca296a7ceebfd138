"""Objectives by hand, and which suggestion they choose."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import Recipe
from harness.search.choice import best_of
from harness.search.objectives import OBJECTIVES, objectives
from harness.search.stream import Stream
from harness.unit import Named

INF = math.inf


def stream(*seeds: int) -> Stream:
    return Stream("digits", "random:0.1", "cnn_small", Named("finetune", 1), (), seeds, "random", 0, Recipe())


def test_objectives_by_hand() -> None:
    stored = {
        "retrain": {"retain": 0.9, "forget": 0.6, "val": 0.7, "mia": 0.5},
        "good": {"retain": 0.9, "forget": 0.6, "val": 0.7, "mia": 0.5},
        "poor": {"retain": 0.6, "forget": 0.9, "val": 0.4, "mia": 0.8},
        "inverse": {"retain": 0.9, "forget": 0.6, "val": 0.7, "mia": 0.1},
        "unknown": {"retain": 0.9, "forget": 0.6, "val": 0.7, "mia": None},
    }
    rows = [
        (unit, "val" if name == "mia" else name, "population_mia" if name == "mia" else "accuracy", value)
        for unit, values in stored.items()
        for name, value in values.items()
    ]
    rows += [(unit, "test", "accuracy", 0.0) for unit in stored]  # must play no part
    metrics = pl.DataFrame(rows, schema=["unit", "part", "metric", "value"], orient="row")
    trials = pl.DataFrame({"unit": ["good", "poor", "inverse", "unknown", "absent"]}).with_columns(
        retrain=pl.lit("retrain")
    )
    found = {row[0]: row[1:] for row in objectives(trials, metrics).select("unit", *OBJECTIVES, "norm").iter_rows()}
    assert found["good"] == pytest.approx((0, 0, 0, 0, 0))
    assert found["poor"] == pytest.approx((0.1, 0.1, 0.1, 0.6, math.sqrt(0.03 + 0.36)))
    assert found["inverse"] == pytest.approx((0, 0, 0, 0.8, 0.8)), "an attack that is wrong tells as much"
    assert found["unknown"][-2:] == (None, None)
    assert found["absent"] == (None,) * 5


def test_the_best_of_any_seed_is_chosen() -> None:
    one, two = stream(0), stream(1)
    best = best_of({one: [(0.3, 0, 0, 0), (0, 0, 0, 0.4)], two: [(INF,) * 4, (0.2, 0.1, 0, 0)]})
    assert best is not None
    assert (best.stream, best.number) == (two, 1)
    assert best.norm == pytest.approx(math.hypot(0.2, 0.1))


def test_without_a_usable_suggestion_there_is_none() -> None:
    assert best_of({stream(0): [(INF,) * 4, (0.1, math.nan, 0, 0)], stream(1): []}) is None


vectors = st.tuples(*[st.floats(0, 1)] * 4)


@given(st.lists(vectors, min_size=1, max_size=8))
def test_no_other_suggestion_is_nearer(results: list[tuple[float, ...]]) -> None:
    best = best_of({stream(0): results})
    assert best is not None
    assert best.norm == min(math.hypot(*objectives) for objectives in results)
    assert best.norm == math.hypot(*results[best.number])
