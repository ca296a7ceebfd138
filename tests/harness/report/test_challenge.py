"""The section of the challenge's score, on rows made by hand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from harness.metrics.challenge import LEVEL, of_farm
from harness.report import ReportData
from harness.report.numbers import NONE
from harness.report.page import render
from harness.store.schemas import polars_schema

CELL = ("digits", "random:0.1", "cnn_small")
ROWS: dict[str, tuple[float | None, float | None, str]] = {
    "retrain": (0.19, 0.19, "time:1"),
    "original": (0.0, 0.0, "time:0"),
    "msg": (0.04, 0.0312, "time:0.11"),
    "ct": (0.12, 0.1101, "not_timed"),
    "finetune": (0.17, None, "time:0.31 too_slow without_limit:0.1613"),
    "gradient_ascent": (None, None, "too_few_models:12/16 coverage:12/16 time:0.1"),
}
"""F, the final score and its flags."""
ORDER = ["ct", "msg", "finetune", "gradient_ascent", "retrain", "original"]


def scored(cells: Sequence[tuple[str, str, str]] = (CELL,)) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for (dataset, scenario, architecture), (method, (quality, score, flags)) in (
        (cell, item) for cell in cells for item in ROWS.items()
    ):
        about = {"study": "digits", "dataset": dataset, "scenario": scenario, "architecture": architecture}
        about |= {"method": method, "config": "default", "pool": "forget", "null": "R", "level": LEVEL}
        few = 12 if quality is None else 64
        numbers = {
            "forgetting_quality": quality,
            "forgetting_ratio": quality and quality / 0.19,
            "challenge_score": score,
        }
        for metric, value in numbers.items():
            models = few // 2 if metric == "forgetting_ratio" else few
            interval = {} if value is None else {"low": 0.9 * value, "high": 1.1 * value}
            null = None if quality is None else 1.0 if metric == "forgetting_ratio" else 0.19
            same: dict[str, Any] = {"metric": metric, "value": value, "null_floor": null, "n": models}
            own = flags if metric == "challenge_score" else " ".join(f for f in flags.split() if "few" in f)
            rows.append(about | same | interval | {"k_u": models, "k_o": models, "examples": 120, "flags": own})
    return pl.DataFrame(rows, schema=polars_schema("attacks"))


@pytest.fixture(scope="module")
def page(data: ReportData, parse: Callable[[str], Any]) -> Any:
    return parse(render(dataclasses.replace(data, attacks=scored())))


def table(page: Any, caption: str = "Challenge score") -> dict[str, list[str]]:
    head, *rows = page.tables[caption]
    return {row[0].text: [cell.text for cell in row] for row in rows if len(row) == len(head)}


def test_a_row_for_each_method_by_its_score_the_references_last(page: Any) -> None:
    rows = table(page)
    assert list(rows) == ORDER
    for method, cells in rows.items():
        quality, score, _ = ROWS[method]
        assert (NONE if quality is None else f"{quality:.3f}"[:4]) in cells[1]
        assert cells[5].startswith(
            "rejected" if method == "finetune" else NONE if score is None else f"{score:.2f}"[:4]
        )
    assert rows["msg"][6].startswith("64")
    assert "32 for F_null" in rows["msg"][6]


def test_flags_are_words(page: Any) -> None:
    notes = {method: cells[-1] for method, cells in table(page).items()}
    assert notes["msg"] == ""
    assert notes["ct"] == "not timed, so the limit on time was not applied"
    assert notes["finetune"] == "rejected: takes more than 0.2 of the time of a retrain (would score 0.1613)"
    assert notes["gradient_ascent"] == "too few models: 12/16; usable models: 12/16"
    assert notes["original"] == "nothing unlearned"
    assert notes["retrain"].startswith("the ceiling")


def test_the_section_says_what_the_ceiling_is_and_its_numbers_are_defined(page: Any) -> None:
    text = re.sub(r"\s+", " ", page.html)
    assert "F = 1 cannot be reached: one half of the retrains against the other scores F_null, here 0.19" in text
    anchors = {one.attributes.get("id") for one in page.elements}
    assert {"def-forgetting-quality", "def-forgetting-ratio", "def-challenge-score"} <= anchors


def test_it_is_no_audit(data: ReportData, parse: Callable[[str], Any]) -> None:
    with_it, without = (render(one) for one in (dataclasses.replace(data, attacks=scored()), data))
    assert "No audit was made." in with_it
    assert parse(with_it).tables.keys() - parse(without).tables.keys() == {"Challenge score"}
    assert 'id="challenge"' not in without


def test_beside_an_audit_each_keeps_its_own(
    data: ReportData, with_audit: Callable[[ReportData], ReportData], parse: Callable[[str], Any]
) -> None:
    audited = with_audit(data)
    both = dataclasses.replace(audited, attacks=pl.concat([audited.attacks, scored()]))
    assert of_farm(both.attacks).equals(audited.attacks)
    one, other = parse(render(both)), parse(render(audited))
    caption = "The audit in numbers"
    assert [[cell.text for cell in row] for row in one.tables[caption]] == [
        [cell.text for cell in row] for row in other.tables[caption]
    ]
    assert list(table(one)) == ORDER


def test_several_cells_have_a_table_each(make: Callable[..., ReportData], parse: Callable[[str], Any]) -> None:
    cells = (CELL, ("fashion", "class:3", "cnn_small"))
    several = dataclasses.replace(make(cells=cells, seeds=2, curves=0), attacks=scored(cells))
    page = parse(render(several))
    for cell in cells:
        assert list(table(page, f"Challenge score: {' · '.join(cell)}")) == ORDER
