"""The sentence that a reader takes home follows from the numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl
import pytest

from harness.ranking import SCHEMA
from harness.report import ReportData
from harness.report.answer import Note, answer, audit_note, joined
from harness.report.audit import verdicts
from harness.report.forest import Estimate, estimates
from harness.report.meanings import Meanings, read_meanings
from harness.report.numbers import NONE
from harness.report.page import render
from harness.report.roster import Competitor, Roster, make_roster
from harness.report.summary import dots, summarise

Row = tuple[str, float | None, int | None, str]
METRICS = ["retention_deviation"]


def rankings(rows: list[Row], cells: int = 1, seeds: int = 3, coverage: float = 1.0) -> pl.DataFrame:
    known = [
        {
            "study": "s",
            "group": "overall",
            "metric": "overall",
            "method": method,
            "config": "default",
            "rank": rank,
            "tie_group": tie,
            "coverage": coverage,
            "status": status,
            "cells": cells,
            "seeds": seeds,
        }
        for method, rank, tie, status in rows
    ]
    return pl.DataFrame(known, schema=SCHEMA)


def said(table: pl.DataFrame) -> list[str]:
    found = answer(table, make_roster(table), {}, {}, joined([]))
    return [re.sub("<[^>]+>", "", text) for text in (found.lead, *(note.text for note in found.notes))]


RANKED: dict[str, tuple[list[Row], str]] = {
    "apart": (
        [("a", 1, 1, "ranked"), ("b", 2, 2, "ranked")],
        "a comes first of 2 ranked methods, and 3 seeds tell it apart from every other.",
    ),
    "tied with some": (
        [("a", 1, 1, "ranked"), ("b", 2, 1, "ranked"), ("c", 3, 2, "ranked"), ("d", 4, 1, "ranked")],
        "a comes first of 4 ranked methods, but 3 seeds cannot tell it apart from b and d.",
    ),
    "tied with many": (
        [*((f"m{place:02d}", place, 1, "ranked") for place in range(1, 12)), ("z", 12, 2, "ranked")],
        "m01 comes first of 12 ranked methods, but 3 seeds cannot tell it apart from 10 others, of which m02, m03 and "
        "m04 come next.",
    ),
    "tied with all": (
        [("a", 1, 1, "ranked"), ("b", 2, 1, "ranked")],
        "a comes first of 2 ranked methods, but 3 seeds cannot tell it apart from any other.",
    ),
    "equal": (
        [("a", 1.5, 1, "ranked"), ("b", 1.5, 1, "ranked")],
        "a and b share the first place of 2 ranked methods.",
    ),
    "unknown": (
        [("a", 1, None, "ranked"), ("b", 2, None, "ranked")],
        "a comes first of 2 ranked methods; on one seed nobody can say how sure that is.",
    ),
    "alone": (
        [("a", 1, 1, "ranked"), ("retrain", None, None, "reference")],
        "a is the only method with a rank, so it has been compared with nothing but retrain.",
    ),
    "all failed": (
        [("a", None, None, "failed"), ("b", None, None, "failed")],
        "No method has a rank: a and b failed.",
    ),
    "none": ([], "There is no answer yet: the study has no ranking."),
    "references": (
        [("retrain", None, None, "reference")],
        "No method has a rank: none has values on all metrics that the ranking combines.",
    ),
}


@pytest.mark.parametrize("case", RANKED)
def test_the_lead(case: str) -> None:
    rows, sentence = RANKED[case]
    assert said(rankings(rows))[0] == sentence


def test_several_cells_are_named_as_the_basis() -> None:
    table = rankings([("a", 1, 1, "ranked"), ("b", 2, 2, "ranked")], cells=4, seeds=5)
    assert "4 cells with 5 seeds tell it apart" in said(table)[0]


def test_failures_and_gaps_are_not_kept_quiet() -> None:
    table = rankings([("a", 1, 1, "ranked"), ("b", 2, 2, "ranked"), ("c", None, None, "failed")], coverage=0.8)
    _, failed, patchy = said(table)
    assert failed == "c failed and has no rank (why)."
    assert patchy.startswith("Some trials of a and b are missing")


def test_the_best_on_each_metric_have_their_values(data: ReportData) -> None:
    roster, meanings = make_roster(data.rankings), read_meanings(data.definitions)
    found = estimates(summarise(data.trials, METRICS), dots(data.trials))
    only = data.rankings.filter(pl.col("metric").is_in(["overall", *METRICS]))
    (best,) = [note.text for note in answer(only, roster, found, meanings, joined([])).notes if note.label == "Best on"]
    value = only.filter(pl.col("metric") == METRICS[0], pl.col("rank") == 1)["value"][0]
    assert re.sub("<[^>]+>", "", best) == f"msg is best on RetDev ({value:.3f})."


def test_the_first_has_its_place_its_cost_and_what_is_left_of_its_accuracy(data: ReportData) -> None:
    roster, meanings = make_roster(data.rankings), read_meanings(data.definitions)
    metrics = [*METRICS, "time_ratio", "accuracy_test"]
    found = estimates(summarise(data.trials, metrics), dots(data.trials))
    notes = {one.label: re.sub("<[^>]+>", "", one.text) for one in _answer(data, roster, found, meanings)}
    first = data.rankings.filter(pl.col("group") == "overall", pl.col("metric") == "overall", pl.col("rank") == 1)
    low, high = math.floor(first["rank_low"][0]), math.ceil(first["rank_high"][0])
    assert notes["How sure"] == f"msg is in place {low}{NONE}{high} of 4 (95 % interval from 3 seeds)."
    means = data.trials.drop_nulls("value").group_by("metric", "method").agg(pl.col("value").mean())
    value = {(metric, method): mean for metric, method, mean in means.rows()}
    time, own, retrain = re.fullmatch(
        r"msg takes ([\d.]+) \[.*\] of the time of retraining; msg keeps a test accuracy of ([\d.]+) \[.*\] "
        r"\(retrain ([\d.]+) \[.*\]\)\.",
        notes["At what cost"],
    ).groups()  # type: ignore[union-attr]
    assert float(time) == pytest.approx(value["time_ratio", "msg"], abs=6e-4)
    assert float(own) == pytest.approx(value["accuracy_test", "msg"], abs=6e-4)
    assert float(retrain) == pytest.approx(value["accuracy_test", "retrain"], abs=6e-4)
    untimed = {metric: own for metric, own in found.items() if metric != "time_ratio"}
    notes = {one.label: one.text for one in _answer(data, roster, untimed, meanings)}
    assert notes["At what cost"].endswith("Run time was not measured.")


def _answer(
    data: ReportData, roster: Roster, found: dict[str, dict[Competitor, Estimate]], meanings: Meanings
) -> Sequence[Note]:
    only = data.rankings.filter(pl.col("metric").is_in(["overall", *METRICS]))
    return answer(only, roster, found, meanings, joined([])).notes


def test_the_audit_names_whom_it_sees_through(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> None:
    attacks = with_audit(data).attacks
    roster = make_roster(data.rankings)
    found = verdicts(attacks, roster)
    assert [entry.method for entry in found["found"]] == [entry.method for entry in roster if not entry.is_reference]
    # Told from a retrain, but not from what was never in: that is said, and not "no sign".
    by_retrain = attacks.with_columns(p_value=pl.when(pl.col("null") == "R").then(1e-6).otherwise(0.5))
    by_retrain = pl.concat(
        [by_retrain, by_retrain.filter(null="O").with_columns(null=pl.lit("R"), p_value=pl.lit(1e-6))]
    )
    apart = verdicts(by_retrain, roster)
    assert apart["told apart"] == found["found"]
    assert "no sign" not in audit_note(apart)
    none = verdicts(attacks.with_columns(p_value=pl.lit(0.02)), roster)
    assert not none["found"]  # 0.02 for each of twelve tests is no finding
    text = re.sub("<[^>]+>", "", audit_note(none))
    assert text == (
        "The audit finds no sign of what msg, ct, finetune, successive_random_labels and gradient_ascent "
        "should have forgotten, neither against images that were never in (null O) nor against retrained models "
        "(null R), but null R was not run on every pool."
    )


def test_whoever_may_read_the_validation_images_is_named(data: ReportData) -> None:
    page = render(replace(data, sees_validation=("ct", "not_in_the_study")))
    warning = "may read the validation images"
    assert re.search(f"<strong>ct</strong> {warning}", page)
    assert warning not in render(data)
