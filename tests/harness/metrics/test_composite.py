"""Composite scores against the numbers of the specification, and what a trial without them is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from harness.metrics import COMPOSITE_METRICS, F1_METRICS, definition, derive, macro_f1
from harness.metrics.composite import aus, nomus, tug_of_war
from harness.ranking import rank_study

RETRAIN = {"forget": 0.55, "retain": 0.99, "test": 0.92}
OWN = {"forget": 0.60, "retain": 0.98, "test": 0.90}
LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def score(rows: pl.DataFrame, metric: str, method: str = "ct") -> tuple[float | None, str | None]:
    found = rows.filter(metric=metric, method=method)
    return found.select("value", "flag").row(0)


def trial(tables: Any, method: str, accuracy: dict[str, float], mia: float, confidence: float, over: float) -> None:
    """Add a trial with all that composite scores are made of."""
    tables.trial(method, accuracy, mia)
    own = {"unit": tables.unit_rows[-1]["unit"]} | {key: tables.metric_rows[-1][key] for key in ("kind", "method")}
    identity = tables.metric_rows[-1] | own
    for metric, part, value in (("mia_confidence", "forget", confidence), ("f1_over_chance", "test", over)):
        tables.metric_rows.append(identity | {"metric": metric, "part": part, "value": value})


@pytest.fixture
def whole(tables: Any) -> Any:
    """The trials of the specification's vectors."""
    trial(tables, "retrain", RETRAIN, 0.50, 0.3, 0.80)
    trial(tables, "original", {"forget": 1.0, "retain": 1.0, "test": 0.92}, 0.60, 0.1, 0.85)
    trial(tables, "ct", OWN, 0.52, 0.4, 0.78)
    tables.timing("retrain", 3000.0)
    tables.timing("ct", 30.0)
    return tables


def test_the_vectors_of_the_specification(whole: Any) -> None:
    assert nomus(0.5951, 0.5 + 0.2136) == pytest.approx(0.58395, abs=1e-9)
    assert nomus(0.488, 0.5 - 0.0445) == pytest.approx(0.6995, abs=1e-9)
    assert aus(0.90, 0.92, 0.0) == pytest.approx(0.98)
    assert aus(0.90, 0.92, 0.2) == pytest.approx(0.8167, abs=5e-5)
    assert tug_of_war(0.05, -0.01, -0.02) == pytest.approx(0.92169)
    rows = derive(*whole.frames())
    assert score(rows, "tow")[0] == pytest.approx(0.92169)
    assert score(rows, "gum")[0] == pytest.approx(0.745043, abs=1e-6)
    assert score(rows, "nomus")[0] == pytest.approx(0.5 * 0.90 + 0.5 * 0.96)
    assert score(rows, "tow_mia")[0] == pytest.approx(0.9 * 0.99 * 0.98)
    assert score(rows, "aus")[0] == pytest.approx(0.98 / 1.3)  # |.60 - .90| is still to go
    assert score(rows, "average_gap")[0] == pytest.approx((0.05 + 0.01 + 0.02 + 0.1) / 4)


def test_retrain_has_the_value_that_its_definition_says_and_doing_nothing_none_of_gum(whole: Any) -> None:
    rows = derive(*whole.frames())
    for metric in ("tow", "tow_mia", "average_gap"):
        assert score(rows, metric, "retrain")[0] == definition(metric).reference_value
    for reference in ("retrain", "original"):  # but for what the published form adds to denominators
        assert score(rows, "gum", reference)[0] == pytest.approx(0, abs=1e-4)


def test_where_classes_are_forgotten_aus_goes_by_test_images_of_both_kinds(whole: Any) -> None:
    for row in [one for one in whole.metric_rows if (one["metric"], one["part"]) == ("accuracy", "test")]:
        shift = {"original": 0.02, "ct": 0.0, "retrain": 0.0}[row["method"]]
        kept = row | {"part": "test_retain", "value": 0.90 + shift}
        whole.metric_rows += [kept, row | {"part": "test_forget", "value": 0.2}]
    rows = derive(*whole.frames())
    assert score(rows, "aus")[0] == pytest.approx(0.8167, abs=5e-5)
    assert score(rows, "average_gap")[0] == pytest.approx((0.05 + 0.01 + 0.0 + 0.1) / 4)
    assert score(rows, "tow")[0] == pytest.approx(0.92169)


def test_what_is_missing_is_told(tables: Any) -> None:
    tables.trial("ct")
    tables.trial("msg", status="failed")
    rows = derive(*tables.frames())
    assert {score(rows, metric, "msg") for metric in COMPOSITE_METRICS} == {(None, "trial failed")}
    assert score(rows, "tow") == (None, "no retrain of this seed, or not measured there")
    assert score(rows, "aus") == (None, "no original of this seed, or not measured there")
    assert score(rows, "gum") == (None, "not measured")
    assert score(rows, "nomus")[0] == pytest.approx(0.8)
    tables.trial("retrain", status="diverged")
    assert score(derive(*tables.frames()), "tow") == (None, "retrain: trial diverged")


def test_none_of_them_is_ranked(whole: Any) -> None:
    rows = derive(*whole.frames())
    ranked = rank_study(rows, study="s", classes={"digits": 10})
    assert set(ranked["metric"]).isdisjoint({*COMPOSITE_METRICS, *F1_METRICS})
    assert all("never ranked" in definition(metric).what for metric in COMPOSITE_METRICS)


@given(LABELS)
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    answers, labels = np.array(pairs).T
    assert macro_f1(answers, labels) == pytest.approx(f1_score(labels, answers, average="macro", zero_division=0))
