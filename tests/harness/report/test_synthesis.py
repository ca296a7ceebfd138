"""What data-free methods generate: lines and bars are the means of what was noted, on the page where there is any."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from harness.report import ReportData
from harness.report.data import TRACES, cells_of
from harness.report.page import render
from harness.report.palette import MUTED
from harness.report.roster import Roster, make_roster
from harness.report.synthesis import (
    ANSWERS,
    BARS_BOTTOM,
    BOTTOM,
    KEPT,
    LEFT,
    RIGHT,
    SEEN,
    TOP,
    synthesis_panels,
    traced,
)

Watch = Callable[..., Any]
FORGET = (2,)
EPOCHS, CLASSES = 4, 5


@pytest.fixture(scope="module")
def roster(data: ReportData) -> Roster:
    return make_roster(data.rankings, data.trials, data.attacks)


def value(seed: int, epoch: int, name: str) -> list[float]:
    if name == ANSWERS:
        shares = [1.0 + seed, 1.0, float(epoch), 0.0, 2.0]
        return [share / sum(shares) for share in shares]
    return [1 - 0.1 * epoch - 0.05 * seed] if name == KEPT else [0.1 * epoch + 0.05 * seed]


@pytest.fixture(scope="module")
def traces(data: ReportData) -> pl.DataFrame:
    """Two seeds of method ct in the one cell; its first epoch is 1, as after a warm-up."""
    dataset, scenario, architecture = cells_of(data.trials)[0]
    rows = [
        {
            **{"unit": f"u{seed}", "dataset": dataset, "scenario": scenario, "architecture": architecture},
            **{"method": "ct", "config": "default", "name": name, "seed": seed, "epoch": epoch},
            "values": value(seed, epoch, name),
        }
        for seed in (0, 1)
        for epoch in range(1, EPOCHS + 1)
        for name in (KEPT, SEEN, ANSWERS)
    ]
    return pl.DataFrame(rows, schema=TRACES)


def test_lines_are_means_over_seeds_and_bars_the_shares_of_all_epochs(
    traces: pl.DataFrame, roster: Roster, watch: Watch
) -> None:
    (found,) = traced(traces, roster, FORGET)
    (panel,) = synthesis_panels([found])
    spy, colour = watch(panel), found.entry.colour

    def at(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(EPOCHS * (x - LEFT) / (RIGHT - LEFT), (BOTTOM - y) / (BOTTOM - TOP)) for x, y in line]

    (seen,) = (args[0][0] for args in spy.of("lines", colour))
    (kept,) = (args[0][0] for args in spy.of("lines", MUTED.light) if args[2] == 1.4)
    for line, name in ((seen, SEEN), (kept, KEPT)):
        expected = [(e, (value(0, e, name)[0] + value(1, e, name)[0]) / 2) for e in range(1, EPOCHS + 1)]
        assert [one for point in at(line) for one in point] == pytest.approx([one for two in expected for one in two])
    heights = {
        colour: [BARS_BOTTOM - args[0][1] for args in spy.of("band", colour)] for colour in (colour, MUTED.light)
    }
    shares = [sum(value(s, e, ANSWERS)[c] for s in (0, 1) for e in range(1, EPOCHS + 1)) / 8 for c in range(CLASSES)]
    assert len(heights[colour]) == len(FORGET)
    unit = heights[colour][0] / shares[2]
    assert heights[MUTED.light] == pytest.approx([unit * shares[label] for label in (0, 1, 3, 4)])
    assert f"{shares[2]:.3f} of the original's answers name a class to forget" in panel.words


def test_the_page_has_the_figure_its_numbers_and_its_command(data: ReportData, traces: pl.DataFrame) -> None:
    (cell,) = cells_of(data.trials)
    page = render(replace(data, traces=traces, forget_classes={cell[1]: FORGET}))
    assert "What data-free methods generate" in page
    assert "Generated images, means over seeds" in page
    assert re.search(r"harness query &#34;select unit, method[^&]*\\&#34;values\\&#34; from traces where", page)
    assert "What data-free methods generate" not in render(data)


def test_other_numbers_that_methods_note_are_not_taken_for_generated_images(make: Callable[..., ReportData]) -> None:
    cells = [("digits", "random:0.1", "cnn_small"), ("digits", "class:2", "cnn_small")]
    study = make(cells=cells, methods=("ct", "msg"))

    def page(name: str) -> str:
        rows = [
            {
                **{"unit": f"u{cell}", "dataset": cell[0], "scenario": cell[1], "architecture": cell[2]},
                **{"method": "ct", "config": "default", "name": name, "seed": 0, "epoch": 1, "values": [-0.5]},
            }
            for cell in cells_of(study.trials)
        ]
        return render(replace(study, traces=pl.DataFrame(rows, schema=TRACES)))

    assert "What data-free methods generate" in page(SEEN)
    assert "What data-free methods generate" not in page("reversal_scale")


def test_whoever_was_chosen_on_test_is_named(data: ReportData) -> None:
    warning = "was chosen by its accuracy on test"
    assert re.search(f"the model of <strong>ct</strong> {warning}", render(replace(data, chosen_on_test=("ct",))))
    assert warning not in render(data)
