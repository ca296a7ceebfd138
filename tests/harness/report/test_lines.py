"""One line a method by epoch: retain - forget, val, the reversal scale; and the figures on the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from harness.report import ReportData
from harness.report.data import TRACES, cells_of, in_cell
from harness.report.ends import LINE
from harness.report.lines import (
    FOOT,
    GAP,
    LEFT,
    MOST_LINES,
    REVERSAL,
    RIGHT,
    TOP,
    accuracies,
    ended,
    line_panel,
    movers,
    reversals,
)
from harness.report.page import render
from harness.report.palette import INK
from harness.report.roster import Roster, make_roster
from harness.report.sheet import compose

Watch = Callable[..., Any]
Make = Callable[..., ReportData]

IN_ONE_PICTURE = "All methods in one picture"
REVERSED = "of methods that reverse its gradient"


@pytest.fixture(scope="module")
def roster(data: ReportData) -> Roster:
    return make_roster(data.rankings, data.trials, data.attacks)


def traces(data: ReportData, methods: tuple[str, ...] = ("ct", "msg")) -> pl.DataFrame:
    """Two seeds of each method in each cell: the scale of seed s in the k-th epoch is -(0.1 + s) k."""
    rows = [
        {
            **dict(zip(("dataset", "scenario", "architecture"), cell, strict=True)),
            **{"unit": f"u{method}{seed}", "method": method, "config": "default", "name": REVERSAL, "seed": seed},
            **{"epoch": epoch, "values": [-(0.1 + seed) * epoch]},
        }
        for cell in cells_of(data.trials)
        for method in methods
        for seed in (0, 1)
        for epoch in range(1, 4)
    ]
    return pl.DataFrame(rows, schema=TRACES)


@pytest.mark.parametrize("column", [GAP, "val", "forget", "retain"])
def test_each_line_is_a_mean_over_seeds_and_retrain_the_level_where_it_ended(
    data: ReportData, roster: Roster, watch: Watch, column: str
) -> None:
    rows = accuracies(data.epochs)
    (panel,) = line_panel(rows, column, "a title", roster, ended(rows, column))
    spy = watch(panel)

    def expected(method: str) -> dict[int, float]:
        own = data.epochs.filter(pl.col("method") == method, pl.col("kind").is_in(["unlearn", "retrain"]))
        value = pl.col("retain") - pl.col("forget") if column == GAP else pl.col(column)
        return {
            epoch: sum(of_epoch.select(value).to_series()) / len(of_epoch)
            for (epoch,), of_epoch in own.group_by("epoch")
        }

    (level,) = (args[0][0] for args in spy.of("lines", INK.light) if args[-1] == (3, 3))
    at = expected("retrain")
    known = {entry.method: expected(entry.method) for entry in movers(rows, roster)}
    assert set(known) == {"msg", "ct", "finetune", "successive_random_labels"}  # the other one failed
    ends = {entry.method: spy.of("lines", entry.colour)[0][0][0] for entry in movers(rows, roster)}
    # One scale for all: pixels of two known values give every other.
    (low, y_low), (high, y_high) = ((ends[one][-1], known[one][max(known[one])]) for one in ("msg", "ct"))
    slope = (high[1] - low[1]) / (y_high - y_low)
    for method, line in ends.items():
        assert [y for _, y in line] == pytest.approx(
            [low[1] + slope * (known[method][epoch] - y_low) for epoch in sorted(known[method])]
        )
        last = max(max(one) for one in known.values())
        assert [x for x, _ in line] == pytest.approx(
            [LEFT + (RIGHT - LEFT) * epoch / last for epoch in sorted(known[method])]
        )
    assert level[0] == (LEFT, pytest.approx(low[1] + slope * (at[max(at)] - y_low)))
    assert level[0][1] == level[1][1]
    assert f"retrain at {at[max(at)]:.3f}" in panel.words


def test_names_stand_at_the_ends_in_their_order_and_never_on_each_other(make: Make, watch: Watch) -> None:
    data = make(methods=tuple(f"method{place:02}" for place in range(MOST_LINES)))
    roster = make_roster(data.rankings, data.trials)
    rows = accuracies(data.epochs)
    (panel,) = line_panel(rows, "val", "val", roster, ended(rows, "val"))
    spy = watch(panel)
    names = {entry.label for entry in roster}
    places = {args[1]: args[0][1] for args in spy.drawn["text"] if args[1] in names}
    assert set(places) == names - {"original"}
    assert min(after - before for before, after in pairwise(sorted(places.values()))) >= LINE - 1e-6
    assert TOP <= min(places.values()) <= max(places.values()) <= panel.height - FOOT + LINE
    values = {name: rows.filter(pl.col("method") == name).sort("epoch")["val"][-1] for name in places}
    assert sorted(places, key=places.__getitem__) == sorted(values, key=values.__getitem__, reverse=True)
    picture = io.BytesIO()
    compose([panel]).savefig(picture, format="png")
    assert picture.getvalue()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_method_that_failed_is_named_and_does_not_stretch_the_scale(make: Make) -> None:
    data = make(failing=("ct",))
    roster = make_roster(data.rankings, data.trials)
    rows = accuracies(data.epochs)
    assert "ct" not in {entry.method for entry in movers(rows, roster)}
    assert "Left out, since they failed: ct." in render(data)


def test_the_scale_of_reversal_begins_with_the_first_epoch(data: ReportData, roster: Roster, watch: Watch) -> None:
    noted = traces(data)
    other = noted.with_columns(name=pl.lit("kept"), values=pl.lit([5.0], pl.List(pl.Float32)))
    rows = reversals(pl.concat([noted, other]))
    assert rows.filter(method="ct").select("epoch", REVERSAL).rows() == [
        (epoch, pytest.approx(-0.6 * epoch)) for epoch in (1, 2, 3)
    ]
    (panel,) = line_panel(rows, REVERSAL, "reversal scale", roster, 0.0)
    (ct,) = (entry for entry in roster if entry.method == "ct")
    line = watch(panel).of("lines", ct.colour)[0][0][0]
    assert [x for x, _ in line] == pytest.approx([LEFT + (RIGHT - LEFT) * epoch / 3 for epoch in (1, 2, 3)])
    assert "retrain at 0.000" in panel.words


def test_the_page_has_each_figure_its_numbers_and_its_command(data: ReportData) -> None:
    page = render(replace(data, traces=traces(data)))
    assert IN_ONE_PICTURE in page
    assert REVERSED in page
    for caption in ("Retain - forget, and val, means over seeds", "Reversal scale, means over seeds"):
        assert caption in page
    assert re.search(r"select unit, method, config, seed, epoch, forget, retain, val, test from epochs where", page)
    assert re.search(r"from traces where [^<]* name = (&#39;|')reversal_scale", page)
    assert 'id="def-reversal-scale"' in page
    assert 'id="def-retain-forget"' in page
    without = render(data)
    assert IN_ONE_PICTURE in without
    assert REVERSED not in without


def test_too_many_methods_are_said_and_not_drawn(make: Make) -> None:
    page = render(make(methods=tuple(f"method{place:02}" for place in range(MOST_LINES + 1))))
    assert IN_ONE_PICTURE not in page
    assert f"{MOST_LINES + 1} methods have curves: too many for one picture" in page


def test_of_several_cells_how_to_read_is_said_once_and_each_has_its_own_lines(make: Make) -> None:
    cells = [("digits", "random:0.1", "cnn_small"), ("digits", "random:0.2", "cnn_small")]
    data = make(methods=("ct", "msg"), cells=cells)
    data = replace(data, traces=traces(data))
    page = render(data)
    assert page.count(IN_ONE_PICTURE) == page.count(REVERSED) == 1
    assert len(re.findall("<caption>[^<]*Retain - forget, and val, means over seeds", page)) == len(cells)
    for cell in cells:
        last = ended(accuracies(in_cell(data.epochs, cell)), "val")
        assert f"retrain at {last:.3f}" in page
    assert "All methods" not in render(make(methods=("ct", "msg"), cells=cells, curves=0))
