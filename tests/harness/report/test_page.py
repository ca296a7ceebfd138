"""The page: complete, true to its frames, safe, and the same for the same data."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import polars as pl
import pytest

from harness.report import (
    ReportData,
    curves_figure,
    forest_figure,
    ranking_figure,
    tradeoff_figure,
)
from harness.report.numbers import MINUS, NONE
from harness.report.page import render

CELLS = tuple(
    (dataset, scenario, "cnn_small") for dataset in ("digits", "fashion") for scenario in ("random:0.1", "class:3")
)
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}${x}</title></style></svg>\x00\x1b\u202e$\\frac{1}"
HEADS = {
    "overall": "mean rank",
    "retention_deviation": "RetDev",
    "indiscernibility_val": "Indisc (val)",
    "accuracy_test": "test acc",
    "time_ratio": "time / retrain",
}
Parse = Callable[[str], Any]


def ranking_rows(page: Any) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the heads of the ranking and its rows by method, each a text by head."""
    caption = next(caption for caption in page.tables if caption.startswith("mean over"))
    head, *rows = page.tables[caption]
    labels = [re.split(r"(fraction|ratio|sum of|rank )", cell.text)[0].strip() for cell in head]
    labels = ["mean rank" if "mean" in cell.text else label for cell, label in zip(head, labels, strict=True)]
    labels = ["time / retrain" if "time" in cell.text else label for cell, label in zip(head, labels, strict=True)]
    found = {}
    for row in rows:
        if len(row) == len(head):
            found[row[1].text] = {label: cell.text for label, cell in zip(labels, row, strict=True)}
    return labels, found


@pytest.fixture(scope="module")
def text(data: ReportData) -> str:
    return render(data)


@pytest.fixture(scope="module")
def page(text: str, parse: Parse) -> Any:
    return parse(text)


@pytest.fixture(scope="module")
def two_cells(make: Callable[..., ReportData]) -> ReportData:
    return make(cells=CELLS[1:3], methods=("msg", "ct", "finetune"), failing=("ct",))


@pytest.fixture(scope="module")
def page_of_two(two_cells: ReportData, with_audit: Callable[[ReportData], ReportData], parse: Parse) -> Any:
    return parse(render(with_audit(two_cells)))


def number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def test_the_ranking_shows_the_numbers_of_the_frame(data: ReportData, page: Any) -> None:
    _, rows = ranking_rows(page)
    frame = data.rankings.filter(pl.col("group") == "overall", pl.col("metric").is_in(list(HEADS)))
    checked = 0
    for row in frame.filter(pl.col("value").is_not_null(), pl.col("status") != "failed").iter_rows(named=True):
        value, _, interval = rows[row["method"]][HEADS[row["metric"]]].partition("[")
        half_unit = 0.5 * 10.0 ** -len(value.partition(".")[2]) + 1e-9
        assert number(value) == pytest.approx(row["value"], abs=half_unit)
        if interval:
            low, high = interval.rstrip("]").split(", ")
            assert number(low) == pytest.approx(row["low"], abs=half_unit)
            assert number(high) == pytest.approx(row["high"], abs=half_unit)
        checked += 1
    assert checked >= 4 * len(HEADS)


def test_the_ranking_is_in_order_and_sets_failures_and_references_apart(data: ReportData, page: Any) -> None:
    _, rows = ranking_rows(page)
    overall = data.rankings.filter(pl.col("metric") == "overall", pl.col("rank").is_not_null()).sort("rank")
    assert list(rows) == [*overall["method"], "gradient_ascent", "retrain", "original"]
    for method in ("gradient_ascent", "retrain", "original"):
        assert rows[method]["rank"] == NONE
    for row in overall.iter_rows(named=True):
        first, _, last = rows[row["method"]]["rank"].partition(NONE)
        assert int(first) <= row["rank"] <= int(last or first)
        assert rows[row["method"]]["ties"] == str(row["tie_group"])


def test_values_of_a_cell_are_means_over_its_seeds(two_cells: ReportData, page_of_two: Any) -> None:
    rows = next(rows for caption, rows in page_of_two.tables.items() if caption.startswith("Values: "))
    dataset, scenario, _ = sorted(CELLS[1:3])[-1]  # captions repeat, and the last cell's table stays
    own = two_cells.trials.filter(pl.col("dataset") == dataset, pl.col("scenario") == scenario)
    column = next(at for at, cell in enumerate(rows[0]) if cell.text.startswith("test acc"))
    shown = {row[0].text: number(row[column].text.partition("[")[0]) for row in rows[1:] if len(row) > 1}
    assert len(shown) == 5
    for method, value in shown.items():
        mean = own.filter(pl.col("method") == method, pl.col("metric") == "accuracy_test")["value"].mean()
        assert value == pytest.approx(mean, abs=0.00051)


def test_every_number_has_its_definition_on_the_page(page: Any, page_of_two: Any) -> None:
    for one in (page, page_of_two):
        ids = [element.attributes["id"] for element in one.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids))
        links = [a.attributes["href"] for a in one.named("a") if a.attributes["href"].startswith("#")]
        assert {link[1:] for link in links} <= set(ids)
        heads = [head for head in one.named("th") if head.attributes.get("scope") == "col"]
        explained = {element.text for element in one.named("abbr")}
        counts = {"doneunits", "divergedunits", "failedunits", "shadows", "U / nullobservations", "examples"}
        for head in heads:
            if head.attributes.get("class") != "t" and head.text not in counts and "=" not in head.text:
                assert any(head.text.startswith(label) for label in explained), head.text


def test_a_metric_that_nobody_defined_is_not_shown_but_named(data: ReportData) -> None:
    extra = data.trials.filter(pl.col("metric") == "accuracy_test").with_columns(
        metric=pl.lit("secret_score"), value=pl.lit(123.456)
    )
    text = render(dataclasses.replace(data, trials=pl.concat([data.trials, extra])))
    assert "123.4" not in text
    assert "Not shown, because they have no definition: secret_score." in text


def test_hostile_names_and_messages_stay_text(make: Callable[..., ReportData], parse: Parse) -> None:
    data = make(methods=("msg", HOSTILE), cells=((HOSTILE, HOSTILE, HOSTILE),), failing=("msg",), question=HOSTILE)
    data = dataclasses.replace(
        data,
        study=HOSTILE,
        title_line=HOSTILE,
        failures=data.failures.with_columns(message=pl.lit(HOSTILE), phase=pl.lit(HOSTILE), exception=pl.lit(HOSTILE)),
        units=data.units.with_columns(
            versions=pl.lit(HOSTILE), hyperparameters=pl.lit(HOSTILE), device=pl.lit(HOSTILE)
        ),
    )
    text = render(data)
    assert "<img" not in text
    assert "49" not in re.findall(r"onerror=alert\(1\).{20}", text)[0]
    assert not re.search("[\x00\x1b\u202e]", text)
    page = parse(text)  # every element is closed by itself
    assert not [element for element in page.elements if any(name.startswith("on") for name in element.attributes)]
    assert page.named("h1")[0].text.startswith("<img src=x")
    assert len(page.named("title")) == len(page.named("style")) == 1


def test_the_page_needs_nothing_but_itself(page: Any) -> None:
    assert not page.named("iframe", "object", "embed", "img", "form", "base")
    for element in page.elements:
        for name in ("src", "srcset", "href", "xlink:href", "action"):
            link = element.attributes.get(name, "#")
            allowed = link.startswith(("#", "data:,")) or (
                element.name == "a" and link.startswith("https://arxiv.org/abs/")
            )
            assert allowed, (element, link)
    style = page.named("style")[0].text
    assert "@import" not in style
    assert "url(" not in style
    policy = next(e for e in page.named("meta") if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")
    (script,) = page.named("script")
    allowed = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}';" in policy.attributes["content"]
    assert not script.attributes
    assert len(script.text.splitlines()) < 150


def test_every_number_of_a_table_can_be_sorted_by(page: Any, page_of_two: Any) -> None:
    for one in (page, page_of_two):
        for caption, (head, *rows) in one.tables.items():
            texts = [at for at, cell in enumerate(head) if cell.attributes.get("class") == "t"]
            for row in (row for row in rows if len(row) == len(head)):
                numbers = [cell for at, cell in enumerate(row) if at not in texts and cell.name == "td"]
                for cell in numbers:
                    exact = cell.attributes.get("data-v")
                    assert exact is not None or not re.match(rf"[≥<{MINUS}\d]", cell.text), (caption, cell.text)
                    shown = re.match(rf"{MINUS}?\d+\.?\d*(?=$|\[|±| ·)", cell.text)
                    if exact is not None and shown:
                        places = len(shown.group().partition(".")[2])
                        assert number(shown.group()) == pytest.approx(float(exact), abs=0.51 * 10.0**-places)


def test_the_page_can_be_read_without_seeing_it(page: Any) -> None:
    assert page.named("html")[0].attributes["lang"] == "en"
    for picture in page.named("svg"):
        assert picture.attributes.get("aria-hidden") == "true" or picture.attributes["aria-label"]
    for head in page.named("th"):
        assert head.attributes["scope"] in ("col", "row", "rowgroup")
    for table in page.named("table"):
        assert table.text.strip()
    assert len(page.tables) == len(page.named("table"))
    levels = [int(element.name[1]) for element in page.named("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for figure in page.named("figure"):
        assert figure.attributes["class"] in ("panels", "small", "single", "pairs")


def test_the_same_data_give_the_same_bytes(make: Callable[..., ReportData]) -> None:
    one, two = (make(cells=CELLS[:2], methods=("msg", "ct"), failing=("ct",)) for _ in range(2))
    shuffled = {
        field.name: getattr(two, field.name).sample(fraction=1, shuffle=True, seed=1)
        for field in dataclasses.fields(two)
        if isinstance(getattr(two, field.name), pl.DataFrame) and field.name != "definitions"
    }
    text = render(one)
    assert render(two) == text
    assert render(dataclasses.replace(two, **shuffled)) == text
    assert "/tmp" not in text


def test_several_cells_have_a_section_each_and_a_single_one_none(page: Any, page_of_two: Any) -> None:
    assert [element.text for element in page_of_two.named("h3")] == [" · ".join(c) for c in sorted(CELLS[1:3])]
    assert "Overall ranks by group of cells" in page_of_two.tables
    assert not page.named("h3")


MISSING: dict[str, tuple[Callable[[ReportData], dict[str, Any]], str]] = {
    "no epochs": (
        lambda data: {"epochs": data.epochs.clear()},
        "No curves: no epoch of these trials was recorded.",
    ),
    "no attacks": (lambda data: {"attacks": data.attacks.clear()}, "No audit was made."),
    "no failures": (lambda data: {"failures": data.failures.clear()}, "Nothing failed."),
    "no rankings": (lambda data: {"rankings": data.rankings.clear()}, "the study has no ranking"),
    "no trials": (
        lambda data: {"trials": data.trials.clear(), "rankings": data.rankings.clear()},
        "Nothing to rank: the study has no value yet.",
    ),
    "no units": (lambda data: {"units": data.units.clear()}, "No unit of this study has been run."),
    "no definitions": (
        lambda data: {"definitions": data.definitions.clear()},
        "Not shown, because they have no definition",
    ),
    "no question": (lambda data: {"question": ""}, "<h1>Study digits</h1>"),
    "no privacy": (
        lambda data: {
            "trials": data.trials.filter(~pl.col("metric").str.contains("mia|indisc")),
            "rankings": data.rankings.filter(~pl.col("metric").str.contains("mia|indisc")),
        },
        "Nothing to draw: no method has both",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_leaves_a_sentence(case: str, make: Callable[..., ReportData], parse: Parse) -> None:
    change, sentence = MISSING[case]
    data = make(methods=("msg", "ct"))
    text = render(dataclasses.replace(data, **change(data)))
    assert sentence in text
    parse(text)


def test_everything_may_be_missing(data: ReportData, parse: Parse) -> None:
    frames = {
        field.name: getattr(data, field.name).clear()
        for field in dataclasses.fields(data)
        if isinstance(getattr(data, field.name), pl.DataFrame)
    }
    page = parse(render(dataclasses.replace(data, **frames)))
    assert not page.named("figure")


STUDIES: dict[str, tuple[dict[str, Any], str]] = {
    "one seed": ({"seeds": 1}, "on one seed nobody can say how sure that is"),
    "not timed": ({"timed": False}, "Run time was not measured"),
    "no curves": ({"curves": 0}, "No curves"),
    "all failed": ({"methods": ("a", "b"), "failing": ("a", "b")}, "No method has a rank"),
    "all diverged": (
        {"methods": ("a", "b"), "diverging": ("a", "b")},
        "diverged: weights or outputs became infinite",
    ),
    "one method": ({"methods": ("a",)}, "is the only method with a rank"),
    "only references": ({"methods": ()}, "No method has a rank"),
    "two seeds": ({"seeds": 2}, "2 seeds"),
    "everything at once": (
        {"seeds": 1, "timed": False, "curves": 0, "methods": ("a", "b"), "diverging": ("a",)},
        "Run time was not measured",
    ),
}


SEVERAL = ("one seed", "all failed", "only references", "everything at once")


@pytest.mark.parametrize(("case", "cells"), [*((case, 1) for case in STUDIES), *((case, 2) for case in SEVERAL)])
def test_every_kind_of_study_has_a_page(case: str, cells: int, make: Callable[..., ReportData], parse: Parse) -> None:
    arguments, sentence = STUDIES[case]
    text = render(make(**{"cells": CELLS[:cells], "methods": ("msg", "ct", "finetune"), **arguments}))
    assert sentence in text
    for figure in parse(text).named("figure"):
        assert figure.text.strip(), "an empty figure instead of a sentence"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_any_part_of_the_results_has_a_page(
    seed: int,
    two_cells: ReportData,
    with_audit: Callable[[ReportData], ReportData],
    parse: Parse,
) -> None:
    """Rows go missing and numbers are not computable: a study that was stopped, or whose runs went astray."""
    random = Random(seed)
    whole, parts = with_audit(two_cells), {}
    for field in dataclasses.fields(whole):
        frame = getattr(whole, field.name)
        if isinstance(frame, pl.DataFrame):
            frame = frame.sample(fraction=random.choice([0, 0.05, 0.3, 0.8, 1]), seed=seed)
            holes = pl.Series([random.random() < 0.2 for _ in range(frame.height)], dtype=pl.Boolean)
            hole = random.choice([None, float("nan"), float("inf"), 0.0])
            numbers = pl.col(pl.Float64)
            parts[field.name] = frame.with_columns(pl.when(holes).then(pl.lit(hole)).otherwise(numbers).name.keep())
    data = dataclasses.replace(whole, **parts)
    text = render(data)
    parse(text)
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL))
    ranking_figure(data.rankings, data.definitions)
    tradeoff_figure(data.trials, data.definitions)
    forest_figure(data.trials, data.definitions, ["accuracy_test", "no_such_metric"])
    curves_figure(data.epochs)


def test_causes_of_failure_are_named(make: Callable[..., ReportData], parse: Parse) -> None:
    page = parse(render(make(failing=("ct",), diverging=("msg",))))
    rows = {row[0].text: [cell.text for cell in row] for row in page.tables["What failed, and why"][1:]}
    assert rows["ct"][2:] == [
        "OutOfMemoryError: CUDA out of memory: tried to allocate 2.00 GiBin phase unlearn",
        "1",
        "failed (1 failed attempt)",
    ]
    assert rows["msg"][2:] == ["diverged: weights or outputs became infinite or NaN", "0, 1, 2", "diverged"]


def test_a_method_that_failed_without_an_error_says_why(data: ReportData, parse: Parse) -> None:
    ruled_out = pl.when(pl.col("method") == "msg")
    rankings = data.rankings.with_columns(
        status=ruled_out.then(pl.lit("failed")).otherwise("status"),
        rank=ruled_out.then(None).otherwise("rank"),
    )
    page = parse(render(dataclasses.replace(data, rankings=rankings)))
    worst = data.trials.filter(pl.col("method") == "msg", pl.col("metric") == "accuracy_test")["value"].min()
    rows = {row[0].text: row[2].text for row in page.tables["What failed, and why"][1:]}
    assert rows["msg"] == f"no usable model: its lowest test accuracy is {worst:.3f}"


def test_a_later_success_is_told(data: ReportData, parse: Parse) -> None:
    units = data.units.with_columns(status=pl.lit("done"))
    page = parse(render(dataclasses.replace(data, units=units)))
    rows = {row[0].text: row[4].text for row in page.tables["What failed, and why"][1:]}
    assert rows["gradient_ascent"] == "a later attempt succeeded (1 failure)"


def test_provenance_counts_units_and_names_versions(data: ReportData, page: Any) -> None:
    facts = {row[0].text: row[1].text for row in page.tables["Where and when"]}
    assert facts["versions"] == "numpy=2.4.6, torch=2.13.0"
    assert facts["hosts"] == "1 host"
    assert facts["run"].startswith("units started from 2025-03-04 09:30 to ")
    counts = {row[0].text: [int(cell.text) for cell in row[1:4]] for row in page.tables["Units"][1:]}
    for kind in ("retrain", "unlearn", "timing"):
        own = data.units.filter(pl.col("kind") == kind)
        assert counts[kind] == [(own["status"] == status).sum() for status in ("done", "diverged", "failed")]


@pytest.mark.slow
def test_twenty_methods_in_ten_cells_with_the_numbers_behind_every_figure_stay_below_two_megabytes_and_a_half(
    make: Callable[..., ReportData],
) -> None:
    cells = [(dataset, f"class:{place}", "cnn_small") for dataset in ("digits", "fashion") for place in range(5)]
    text = render(make(methods=[f"method_{place:02d}" for place in range(20)], cells=cells))
    assert len(text.encode()) < 2_500_000
