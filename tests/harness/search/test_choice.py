"""Objectives by hand, and which suggestion they choose."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts import Recipe
from harness.search.choice import best_of
from harness.search.objectives import OBJECTIVES, norm, objectives
from harness.search.stream import Stream
from harness.unit import Named

INF = math.inf


def stream(*seeds: int) -> Stream:
    return Stream("digits", "random:0.1", "cnn_small", Named("finetune", 1), (), seeds, "random", 0, Recipe())


def measured(retain: float, forget: float, val: float, mia: float) -> dict[tuple[str, str], float]:
    accuracy = {"retain": retain, "forget": forget, "val": val, "test": 0.123}  # test must play no part
    return {("accuracy", part): value for part, value in accuracy.items()} | {("population_mia", "val"): mia}


def test_objectives_by_hand() -> None:
    retrain = measured(0.9, 0.6, 0.7, 0.5)
    found = {
        "good": objectives(retrain | {("accuracy", "test"): 1.0}, retrain),
        "poor": objectives(measured(0.6, 0.9, 0.4, 0.8), retrain),
        "inverse": objectives(measured(0.9, 0.6, 0.7, 0.1), retrain),
    }
    by_name = {name: [each[one] for one in OBJECTIVES] for name, each in found.items()}
    assert by_name["good"] == pytest.approx([0, 0, 0, 0])
    assert by_name["poor"] == pytest.approx([0.1, 0.1, 0.1, 0.6])
    assert by_name["inverse"] == pytest.approx([0, 0, 0, 0.8]), "an attack that is wrong tells as much"
    attacked = {("population_mia", "val"): 0.75, ("accuracy", "val"): 0.5}
    assert objectives(attacked, retrain) == dict.fromkeys(OBJECTIVES) | {
        "val_gap": pytest.approx(0.2 / 3),
        "discernibility": 0.5,
    }
    assert objectives({}, retrain) == objectives({("accuracy", "val"): 0.5}, {}) == dict.fromkeys(OBJECTIVES)
    poor = pl.DataFrame([found["poor"], dict.fromkeys(OBJECTIVES)], schema=dict.fromkeys(OBJECTIVES, pl.Float64))
    assert poor.select(norm()).to_series().to_list() == [pytest.approx(math.sqrt(0.03 + 0.36)), None]


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
