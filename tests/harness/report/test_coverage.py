"""A study that is not done says so, and how far it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from harness.ranking import rank
from harness.report import ReportData
from harness.report.data import PLANNED
from harness.report.page import render

Parse = Callable[[str], Any]
METHODS = ("msg", "ct", "finetune")


@pytest.fixture(scope="module")
def whole(make: Callable[..., ReportData]) -> ReportData:
    data = make(methods=METHODS, curves=0)
    return dataclasses.replace(data, planned=planned(data.units))


def planned(units: pl.DataFrame) -> pl.DataFrame:
    return units.select(PLANNED.names()).cast(dict(PLANNED))  # type: ignore[arg-type]


def stopped(data: ReportData, missing: pl.Expr) -> ReportData:
    """Return the data of a study that was stopped before some of its trials ran."""
    trials = data.trials.filter(~missing)
    ran = ~(missing & pl.col("kind").is_in(["unlearn", "timing"]))
    return dataclasses.replace(
        data, trials=trials, units=data.units.filter(ran), rankings=rank(trials, study="digits", draws=200)
    )


def first_screen(data: ReportData, parse: Parse) -> tuple[str, str, Any]:
    """Return the lead, the note on coverage, and the page."""
    page = parse(render(data))
    lead = next(one.text for one in page.named("p") if one.attributes.get("class") == "lead")
    notes = dict(zip((one.text for one in page.named("dt")), (one.text for one in page.named("dd")), strict=True))
    return lead, notes.get("Coverage", ""), page


def test_a_finished_study_is_called_complete(whole: ReportData, parse: Parse) -> None:
    lead, coverage, _ = first_screen(whole, parse)
    assert lead.startswith("msg comes first")
    assert coverage == "All 12 trials done."  # the original is one, too


def test_some_trials_and_a_method_without_any(whole: ReportData, parse: Parse) -> None:
    method, seed = pl.col("method"), pl.col("seed")
    missing = (method == "finetune") | ((method == "ct") & (seed > 0))
    lead, coverage, page = first_screen(stopped(whole, missing), parse)
    assert lead.startswith("The study is not done. So far: msg")
    assert coverage == "7 of 12 trials done. 1 method not ranked yet: finetune. Without a result: 5 of 12 timings."
    rows = next(rows for caption, rows in page.tables.items() if caption.startswith("mean over"))
    assert [row[0].text for row in rows if len(row) == 1] == ["without a value", "references, not ranked"]
    assert "finetune" in [row[1].text for row in rows if len(row) > 1]
    counts = {row[0].text: [cell.text for cell in row[1:3]] for row in page.tables["Units"]}
    assert counts["kind of unit"] == ["plannedunits", "doneunits"]
    assert counts["unlearn"] == ["12", "7"]


def test_nothing_but_references_so_far(whole: ReportData, parse: Parse) -> None:
    lead, coverage, _ = first_screen(stopped(whole, pl.col("method").is_in(METHODS)), parse)
    assert lead.startswith("The study is not done. So far: No method has a rank")
    assert "3 of 12 trials done. 3 methods not ranked yet: ct, finetune and msg." in coverage


def test_a_failure_is_no_open_trial(make: Callable[..., ReportData], parse: Parse) -> None:
    data = make(methods=METHODS, curves=0, timed=False, failing=("ct",))
    lead, coverage, _ = first_screen(dataclasses.replace(data, planned=planned(data.units)), parse)
    assert lead.startswith("msg comes first")
    assert coverage == "11 of 12 trials done, 1 failed."


def test_half_a_farm(whole: ReportData, with_audit: Callable[[ReportData], ReportData], parse: Parse) -> None:
    row = whole.planned.row(0, named=True)
    farm = [row | {"unit": f"farm{at}", "kind": "shadow_unlearn", "method": "msg", "seed": at} for at in range(8)]
    units = [whole.units.row(0, named=True) | one for one in farm[:3]]
    data = dataclasses.replace(
        whole,
        planned=pl.concat([whole.planned, pl.DataFrame(farm, schema=PLANNED)]),
        units=pl.concat([whole.units, pl.DataFrame(units, schema=whole.units.schema)]),
    )
    sentence = "The farm of the audit is not done: 3 of 8 units; the audit may still change."
    for one in (data, with_audit(data)):
        lead, coverage, page = first_screen(one, parse)
        assert lead.startswith("The study is not done.")
        assert coverage == f"All 12 trials done. {sentence}"
        assert sum(text.text == sentence for text in page.named("p")) == 1, "the section on the audit says it too"
        assert "No audit was made" not in page.html


def test_a_plan_that_nobody_knows_is_not_counted(data: ReportData) -> None:
    assert not re.search("trials done|not ranked yet", render(data))
