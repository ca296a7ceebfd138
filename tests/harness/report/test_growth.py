"""The AUC by the number of shadows: doubling is one step across, and what cannot be seen is shaded around 0.5."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from harness.report import ReportData
from harness.report.growth import LEFT, RIGHT, growth_panels
from harness.report.palette import BAND, INK
from harness.report.roster import Roster, make_roster

Watch = Callable[..., Any]


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


@pytest.fixture(scope="module")
def roster(audit: ReportData) -> Roster:
    return make_roster(audit.rankings, audit.trials, audit.attacks)


def test_lines_bands_and_expectations_are_those_of_the_frame(audit: ReportData, roster: Roster, watch: Watch) -> None:
    panel = growth_panels(audit.growth, roster)[0]
    spy = watch(panel)
    half = next(args[0][0][0][1] for args in spy.of("lines", INK.light) if args[-1] == (3, 3))
    top = max(text for text in spy.texts if text.startswith("0."))
    unit = (half - next(args[0][1] - 4 for args in spy.drawn["text"] if args[1] == top)) / (float(top) - 0.5)

    def auc(y: float) -> float:
        return float(0.5 + (half - y) / unit)

    for entry in (one for one in roster.among(audit.growth) if not one.is_reference):
        own = audit.growth.filter(pl.col("method") == entry.method, pl.col("pool") == "canary").sort("n")
        dashed, solid = (
            next(args[0][0] for args in spy.of("lines", entry.colour) if args[2] == width) for width in (0.9, 1.6)
        )
        assert [auc(y) for _, y in solid] == pytest.approx(own["value"].to_list(), abs=1e-6)
        assert [auc(y) for _, y in dashed] == pytest.approx(own["expected"].to_list(), abs=1e-6)
        steps = [after - before for (before, _), (after, _) in pairwise(solid)]
        assert steps == pytest.approx([(RIGHT - LEFT) / 2] * 2)  # 8, 16, 32
        ((outline, *_),) = spy.of("area", entry.colour)
        assert [auc(y) for _, y in outline] == pytest.approx([*own["high"], *reversed(own["low"].to_list())], abs=1e-6)
        assert f"{entry.label} from {own['value'][0]:.2f} at 8 to {own['value'][2]:.2f} at 32" in panel.words
    ((shaded, *_),) = spy.of("area", BAND.light)
    detectable = audit.growth.filter(pl.col("method") == "ct", pl.col("pool") == "canary").sort("n")["detectable"]
    found = [auc(y) for _, y in shaded]
    assert found[:3] == pytest.approx(detectable.to_list(), abs=1e-6)
    # The region lies on both sides of 0.5, cut at the edge of the panel.
    lowest = auc(max(args[1] for args in spy.drawn["line"])[1] - 4)
    assert found[:2:-1] == pytest.approx([max(1 - one, lowest) for one in detectable], abs=1e-6)


def test_a_single_number_of_shadows_is_a_mark(audit: ReportData, roster: Roster, watch: Watch) -> None:
    last = audit.growth.filter(pl.col("n") == 32).with_columns(detectable=pl.lit(None, pl.Float64))
    panels = growth_panels(last, roster)
    assert len(panels) == 2
    spy = watch(panels[0])
    assert "area" not in spy.drawn
    assert "32" in spy.texts
    assert "retrain to 0.49 at 32" in panels[0].words
    assert growth_panels(audit.growth.clear(), roster) == []
