"""Rebound, and what is said of a whole sequence of requests, against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from harness.metrics import FORGOTTEN_BEFORE, OVER_REQUESTS, SEQUENCE_METRICS, chains, derive, over_requests

CHAIN = ("sequence:1:0.1", "sequence:2:0.1", "sequence:3:0.1")
FOLLOWS = {"random:0.1": "", CHAIN[0]: "", CHAIN[1]: CHAIN[0], CHAIN[2]: CHAIN[1]}
RETRAIN: tuple[dict[str, float], ...] = ({}, {FORGOTTEN_BEFORE: 0.60}, {FORGOTTEN_BEFORE: 0.70})
OWN: tuple[dict[str, float], ...] = ({}, {FORGOTTEN_BEFORE: 0.75}, {FORGOTTEN_BEFORE: 0.65})
GAPS = (0.03, 0.12, 0.06)


@pytest.fixture
def sequence(tables: Any) -> Any:
    """A method over three requests, whose gaps to retrain are in retain accuracy alone."""
    for scenario, reference, own, gap in zip(CHAIN, RETRAIN, OWN, GAPS, strict=True):
        tables.trial("retrain", reference, scenario=scenario)
        tables.trial("ct", {"retain": 0.9 - 3 * gap, **own}, scenario=scenario)
    return tables


def values(rows: pl.DataFrame, metric: str, method: str = "ct") -> dict[str, float | None]:
    own = rows.filter(metric=metric, method=method)
    return dict(zip(own["scenario"], own["value"], strict=True))


def test_rebound_is_what_a_method_knows_more_of_earlier_requests_than_retrain(sequence: Any) -> None:
    rows = derive(*sequence.frames())
    assert values(rows, "rebound") == {CHAIN[0]: None, CHAIN[1]: pytest.approx(0.15), CHAIN[2]: pytest.approx(-0.05)}
    assert values(rows, "rebound", "retrain") == {CHAIN[0]: None, CHAIN[1]: 0, CHAIN[2]: 0}
    assert rows.filter(metric="rebound", method="ct", scenario=CHAIN[0])["flag"].item() == "not measured"


def test_a_study_without_sequences_has_no_row_of_them(tables: Any) -> None:
    tables.trial("retrain")
    assert not derive(*tables.frames())["metric"].is_in(SEQUENCE_METRICS).any()


def test_a_sequence_has_its_largest_rebound_and_the_mean_and_largest_gap(sequence: Any) -> None:
    found = over_requests(derive(*sequence.frames()), CHAIN)
    assert set(found["metric"]) == set(OVER_REQUESTS)
    assert set(found["scenario"]) == {CHAIN[-1]}
    own = {metric: values(found, metric)[CHAIN[-1]] for metric in OVER_REQUESTS}
    assert own == pytest.approx({"rebound_most": 0.15, "gap_mean": 0.07, "gap_most": 0.12})
    assert {metric: values(found, metric, "retrain")[CHAIN[-1]] for metric in OVER_REQUESTS} == dict.fromkeys(own, 0)


def test_a_sequence_with_a_request_without_value_has_none_and_says_which(sequence: Any) -> None:
    for scenario in CHAIN[:2]:
        sequence.trial("finetune", {FORGOTTEN_BEFORE: 0.5}, scenario=scenario)
    for scenario, status in zip(CHAIN, ("done", "diverged", "diverged"), strict=True):
        sequence.trial("msg", {FORGOTTEN_BEFORE: 0.5}, scenario=scenario, status=status)
    found = over_requests(derive(*sequence.frames()), CHAIN).filter(pl.col("method").is_in(["finetune", "msg"]))
    assert found["value"].is_null().all()
    flags = {(row["method"], row["metric"]): row["flag"] for row in found.iter_rows(named=True)}
    assert flags["finetune", "gap_mean"] == "2 of 3 requests"
    assert flags["finetune", "rebound_most"] == "1 of 2 requests"
    assert flags["msg", "gap_most"] == f"{CHAIN[1]}: trial diverged"


def test_sequences_are_found_by_what_follows_what() -> None:
    assert chains(FOLLOWS) == [CHAIN]
    assert chains({"random:0.1": "", CHAIN[0]: ""}) == []
    other = {"sequence:1:0.2": "", "sequence:2:0.2": "sequence:1:0.2"}
    assert sorted(chains(FOLLOWS | other)) == sorted([CHAIN, tuple(other)])
