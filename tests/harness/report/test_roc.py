"""ROC curves: the points of the frame on logarithmic axes, as far as the negatives allow to read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report import ReportData
from harness.report.page import render
from harness.report.palette import INK
from harness.report.roc import LEFT, LINE, LOWEST, RIGHT, TOP, Axes, readable, roc_panels
from harness.report.roster import Roster, make_roster
from harness.report.scales import spread_within

SETTINGS = [("canary", "O"), ("canary", "R"), ("clean", "O")]


Watch = Callable[..., Any]


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


@pytest.fixture(scope="module")
def roster(audit: ReportData) -> Roster:
    return make_roster(audit.rankings, audit.trials, audit.attacks)


def rate(pixel: float, first: float, last: float) -> float:
    return float(10 ** (-3 * (1 - (pixel - first) / (last - first))))


def test_the_lines_and_bands_are_those_of_the_frame(audit: ReportData, roster: Roster, watch: Watch) -> None:
    panels = roc_panels(audit.roc, audit.attacks, roster)
    bottom = TOP + 236
    assert len(panels) == len(SETTINGS)
    for panel, (pool, null) in zip(panels, SETTINGS, strict=True):
        spy = watch(panel)
        for entry in (one for one in roster if not one.is_reference):
            own = audit.roc.filter(pl.col("method") == entry.method, pl.col("pool") == pool, pl.col("null") == null)
            (line,) = next(args[0] for args in spy.of("lines", entry.colour) if args[2] == 1.6)
            found = [(rate(x, LEFT, RIGHT), rate(y, bottom, TOP)) for x, y in line]
            expected = [*own.select("fpr", "tpr").rows(), (1.0, 1.0)]
            assert found == [pytest.approx(point, rel=1e-6) for point in expected]
            ((outline, *_),) = spy.of("area", entry.colour)
            ends = [rate(y, bottom, TOP) for _, y in outline]
            lows = [max(low, LOWEST) for low in own["low"]]
            assert ends == pytest.approx([*own["high"], 1, 1, *reversed(lows)], rel=1e-6)
        at = audit.roc.filter(pl.col("method") == "ct", pl.col("pool") == pool, pl.col("null") == null)
        known = at.filter((pl.col("fpr") - 0.01).abs() < 1e-6)["tpr"].item()
        assert f"ROC, {pool}, null {null}: true-positive rate at a false-positive rate of 0.01: " in panel.words
        assert f"ct {known:.3f}" in panel.words


def test_guessing_is_the_dashed_diagonal_and_retrain_lies_on_it(
    audit: ReportData, roster: Roster, watch: Watch
) -> None:
    spy = watch(roc_panels(audit.roc, audit.attacks, roster)[0])
    dashed = [args for args in spy.of("lines", INK.light) if args[-1] == (3, 3)]
    assert [args[0] for args in dashed] == [[[(LEFT, TOP + 236), (RIGHT, TOP)]]]
    (retrain,) = next(args[0] for args in spy.of("lines", INK.light) if args[2] == 1.6)
    assert all((x - LEFT) / (RIGHT - LEFT) == pytest.approx((TOP + 236 - y) / 236) for x, y in retrain)


@given(st.floats(0, 1), st.floats(0, 1))
def test_rates_below_the_axes_lie_on_the_edge(fpr: float, tpr: float) -> None:
    x, y = Axes(200)(fpr, tpr)
    assert LEFT <= x <= RIGHT
    assert TOP <= y <= 200
    assert (x == LEFT) == (fpr <= LOWEST)
    assert (y == 200) == (tpr <= LOWEST)


@pytest.mark.parametrize(("k_o", "examples", "first"), [(16, 120, 0.001), (8, 120, 0.00158), (2, 50, 0.01), (1, 1, 2)])
def test_a_line_begins_where_one_false_positive_is_expected(
    k_o: int, examples: int, first: float, audit: ReportData, roster: Roster
) -> None:
    attacks = audit.attacks.with_columns(
        k_o=pl.lit(k_o).cast(audit.attacks.schema["k_o"]), examples=pl.lit(examples).cast(pl.Int64)
    )
    points = readable(audit.roc, attacks)
    assert points["fpr"].min() == (pytest.approx(first, rel=0.01) if first < 1 else None)
    assert points.height == (audit.roc["fpr"] * k_o * examples > 1 - 1e-9).sum()
    assert len(roc_panels(audit.roc, attacks, roster)) == (len(SETTINGS) if first < 1 else 0)


def test_without_the_number_of_negatives_nothing_is_drawn(audit: ReportData, roster: Roster) -> None:
    shallow = audit.attacks.filter(pl.col("level") != "L2")
    assert roc_panels(audit.roc, shallow, roster) == []
    assert roc_panels(audit.roc.clear(), audit.attacks, roster) == []


def test_an_unknown_interval_leaves_the_line_without_a_band(audit: ReportData, roster: Roster, watch: Watch) -> None:
    roc = audit.roc.with_columns(low=pl.lit(None, pl.Float64))
    spy = watch(roc_panels(roc, audit.attacks, roster)[0])
    assert "area" not in spy.drawn
    assert len([args for args in spy.drawn["lines"] if len(args) > 2 and args[2] == 1.6]) == 6


@given(st.lists(st.floats(TOP, 300), min_size=1, max_size=15))
def test_names_stay_inside_and_apart(places: list[float]) -> None:
    kept = spread_within(places, LINE, TOP, 300)
    assert all(TOP - 1e-9 <= place <= 300 + 1e-9 for place in kept)
    assert all(after - before >= LINE - 1e-3 for before, after in pairwise(sorted(kept)))


def test_the_page_has_the_curves_in_the_section_of_the_audit(
    audit: ReportData, parse: Callable[[str], Any], data: ReportData
) -> None:
    text = render(audit)
    labels = [svg.attributes.get("aria-label", "") for svg in parse(text).named("svg")]
    assert [label.split(":")[0] for label in labels if label.startswith("ROC")] == [
        f"ROC, {pool}, null {null}" for pool, null in SETTINGS
    ]
    captions = [caption.text for caption in parse(text).named("figcaption")]
    assert any("upper left corner is a perfect attack" in caption for caption in captions)
    for one in (data, dataclasses.replace(audit, roc=data.roc)):
        assert "perfect attack" not in render(one)


def test_the_order_of_the_rows_does_not_matter(audit: ReportData) -> None:
    shuffled = {"roc": audit.roc, "attacks": audit.attacks}
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=2) for name, frame in shuffled.items()}
    assert render(dataclasses.replace(audit, **shuffled)) == render(audit)
