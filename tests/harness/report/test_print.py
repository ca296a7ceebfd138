"""What may be printed of an audit: no acquittal on shallow evidence, no number without what belongs beside it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

import polars as pl
import pytest

from harness.report import ReportData
from harness.report.answer import audit_note
from harness.report.audit import headline_estimates, headline_meanings, strongest, verdicts
from harness.report.audit_table import audit_table
from harness.report.blocks import Table
from harness.report.context import Context
from harness.report.data import finite_data
from harness.report.farm import farm_notes
from harness.report.meanings import read_meanings
from harness.report.numbers import NONE
from harness.report.roster import Roster, make_roster
from harness.report.sections import UTILITY, _ranking
from harness.report.svg import Inliner
from harness.report.views import View

FLOORED = {  # value, low, high, floor
    "forgetting_quality": (0.12, 0.10, 0.14, 0.19),
    "klom": (0.87, 0.80, 0.95, 0.62),
    "klom_gaussian": (0.30, 0.20, 0.40, 0.05),
}


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


@pytest.fixture(scope="module")
def roster(audit: ReportData) -> Roster:
    return make_roster(audit.rankings, audit.trials, audit.attacks)


def plain(parts: Iterable[str]) -> str:
    return re.sub("<[^>]+>", "", " ".join(parts))


def note(attacks: pl.DataFrame, roster: Roster) -> str:
    return plain([audit_note(verdicts(attacks, roster))])


def with_metric(attacks: pl.DataFrame, metric: str, numbers: tuple[float | None, ...]) -> pl.DataFrame:
    rows = attacks.filter(pl.col("null") == "R", pl.col("metric") == "auc")
    names = ("value", "low", "high", "null_floor")
    new = {name: pl.lit(number, pl.Float64) for name, number in zip(names, numbers, strict=True)}
    return pl.concat([attacks, rows.with_columns(metric=pl.lit(metric), **new)])


def cell(attacks: pl.DataFrame, metric: str, definitions: pl.DataFrame, roster: Roster) -> tuple[str, str]:
    """Return text and note of the first row that was measured against null R."""
    meanings = read_meanings(definitions)
    table = audit_table(attacks, meanings, roster)
    column = next(at for at, one in enumerate(table.columns) if one.label == meanings[metric].label)
    row = next(row for row in table.groups[0].rows if row.cells[3].text == "R")
    return str(row.cells[column].text), str(row.cells[column].note)


def test_whom_only_shallow_attacks_have_tried_nobody_acquits(audit: ReportData, roster: Roster) -> None:
    shallow = audit.attacks.filter(pl.col("level") == "L0").with_columns(p_value=pl.lit(0.9))
    text = note(shallow, roster)
    assert "no sign" not in text
    assert "levels L0 and L1 can convict a method, but never acquit it" in text
    mixed = audit.attacks.filter((pl.col("level") == "L2") | (pl.col("method") == "ct"))
    mixed = mixed.filter((pl.col("level") == "L0") | (pl.col("method") != "ct")).with_columns(p_value=pl.lit(0.9))
    acquitted, _, rest = note(mixed, roster).partition("On ct no attack")
    assert "msg, finetune" in acquitted
    assert "ct" not in re.findall(r"\w+", acquitted.partition("sign of")[2].partition("should")[0])
    assert "convict" in rest
    for only in ({"p_value": pl.lit(None, pl.Float64)}, {"metric": pl.lit("rmia_auc")}):
        assert "no sign" not in note(audit.attacks.with_columns(**only), roster)


def test_an_acquittal_names_both_nulls_or_the_one_that_is_missing(audit: ReportData, roster: Roster) -> None:
    silent = audit.attacks.with_columns(p_value=pl.lit(0.9))
    both = silent.filter(pl.col("pool") == "canary")
    assert note(both, roster).endswith("(null O) nor against retrained models (null R).")
    assert note(silent, roster).endswith("but null R was not run on every pool.")
    assert note(silent.filter(pl.col("null") == "O"), roster).endswith("null R (retrained models) was not run.")
    assert note(silent.filter(pl.col("null") == "R"), roster) == ""


def heads(data: ReportData) -> list[str]:
    context = Context(finite_data(data), Inliner())
    table = _ranking(context, View(context)).blocks[0]
    assert isinstance(table, Table)
    return [column.label for column in table.columns]


def test_the_audit_stands_beside_utility_and_null_r(audit: ReportData) -> None:
    meanings = read_meanings(audit.definitions)
    labels = [one.label for one in headline_meanings(audit.attacks, meanings).values()]
    assert labels == ["audit (canary), null O", "audit (canary), null R", "audit (clean), null O"]
    assert len(headline_estimates(audit.attacks)) == len(labels)
    assert set(labels) | {"test acc"} <= set(heads(audit))
    useless = ~pl.col("metric").is_in(list(UTILITY))
    without = {name: getattr(audit, name).filter(useless) for name in ("trials", "rankings")}
    assert heads(dataclasses.replace(audit, **without))
    assert not set(labels) & set(heads(dataclasses.replace(audit, **without)))


@pytest.mark.parametrize("metric", FLOORED)
def test_what_has_a_floor_is_never_printed_without_it(metric: str, audit: ReportData, roster: Roster) -> None:
    value, low, high, floor = FLOORED[metric]
    attacks = with_metric(audit.attacks, metric, FLOORED[metric])
    text, beside = cell(attacks, metric, audit.definitions, roster)
    if metric == "forgetting_quality":
        assert (float(text), beside) == (value, "[0.100, 0.140] · F_null 0.190 · ratio 0.63")
    else:
        shown = [float(one) for one in re.findall(r"[\d.]+", f"{text} {beside}")]
        assert shown == pytest.approx([value - floor, low - floor, high - floor, floor])
        assert "floor" in beside
    unknown = with_metric(audit.attacks, metric, (value, low, high, None))
    text, beside = cell(unknown, metric, audit.definitions, roster)
    assert not re.search(r"\d", text + beside)
    assert "unknown" in beside


def test_a_lower_bound_reads_as_one(audit: ReportData, roster: Roster) -> None:
    bound = with_metric(audit.attacks, "eps_cp", (0.53, None, None, 0.0))
    assert cell(bound, "eps_cp", audit.definitions, roster) == ("≥ 0.530", "")
    nothing = with_metric(audit.attacks, "eps_cp", (0.0, None, None, 0.0))
    assert cell(nothing, "eps_cp", audit.definitions, roster) == ("0", "none shown")


def test_the_farm_is_described_and_what_is_missing_of_it(audit: ReportData, roster: Roster) -> None:
    (whole,) = farm_notes(audit.attacks, roster)
    assert plain([whole]) == (
        "N = 32 shadows; K per example: 16 releases in which it was unlearned (U), 16 in which it was never in (O) and "
        "16 retrained models (R). Examples: 120 in canary and 120 in clean."
    )
    half = audit.attacks.with_columns(flags=pl.lit("coverage:24/32 nonfinite:2"))
    assert plain(farm_notes(half, roster)).endswith(
        "24 of 32 shadows are in: the farm is not done, and the audit may still change."
    )
    some = audit.attacks.with_columns(
        flags=pl.when(pl.col("method") == "ct").then(pl.lit("coverage:24/32")).otherwise(pl.lit("")),
        n=pl.when(pl.col("method") == "ct").then(24).otherwise("n"),
    )
    text = plain(farm_notes(some, roster))
    assert f"N = 24{NONE}32 shadows" in text
    assert "24 of 32 shadows are in of ct:" in text
    assert farm_notes(audit.attacks.clear(), roster) == []


def test_who_sees_the_model_before_unlearning_does_not_stand_for_the_headline(audit: ReportData) -> None:
    attacks = audit.attacks
    both = pl.concat([attacks, attacks.filter(level="L2").with_columns(level=pl.lit("L3"), value=pl.lit(1.0))])
    assert strongest(both).equals(strongest(attacks))
