"""Histograms by world: areas are the releases of each world, and no more panels than a page bears."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.report import ReportData
from harness.report.palette import INK, MUTED
from harness.report.roster import Roster, make_roster
from harness.report.worlds import BINS, BOTTOM, MOST, TOP, WIDTH, world_panels

Watch = Callable[..., Any]


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


@pytest.fixture(scope="module")
def roster(audit: ReportData) -> Roster:
    return make_roster(audit.rankings, audit.trials, audit.attacks)


def area(outline: list[tuple[float, float]]) -> float:
    return sum((x1 - x0) * (BOTTOM - y0) for (x0, y0), (x1, _) in pairwise(outline))


def test_the_outlines_are_the_histograms_of_the_worlds(audit: ReportData, roster: Roster, watch: Watch) -> None:
    panels, left_out = world_panels(audit.worlds, audit.effects, roster)
    assert len(panels) == MOST
    assert not left_out
    own = audit.worlds.filter(pl.col("method") == "ct", pl.col("pool") == "canary")
    panel = next(one for one in panels if one.words.startswith("phi by world, canary, ct:"))
    spy, ct = watch(panel), roster["ct", "default"]
    outlines = [[args[0][0] for args in spy.of("lines", colour)] for colour in (ct.colour, INK.light, MUTED.light)]
    effects = audit.effects.filter(pl.col("method") == "ct", pl.col("pool") == "canary")
    d = dict(effects.select("example", "d").rows())
    chosen = sorted(own["example"].unique(), key=lambda example: -d[example])
    assert [text for text in spy.texts if text.startswith("example")] == [f"example {one}" for one in chosen]
    assert [text for text in spy.texts if text.startswith("d = ")] == [
        f"d = {d[one]:.2f}".replace("-", "\u2212") for one in chosen
    ]
    for place, example in enumerate(chosen):
        known = [own.filter(example=example, world=world)["phi"].to_numpy() for world in ("U", "O", "R")]
        together = np.concatenate(known)
        margin = 0.04 * np.ptp(together)
        edges = np.linspace(together.min() - margin, together.max() + margin, BINS + 1)
        counts = [np.histogram(phi, edges)[0] for phi in known]
        for outline, count in zip(outlines, counts, strict=True):
            tops = [BOTTOM - y for _, y in outline[place][1:-1:2]]
            wanted = count / max(one.max() for one in counts) * (BOTTOM - TOP)
            assert tops == pytest.approx(wanted.tolist(), abs=1e-6)
        # As many releases in each world, so all outlines have one area.
        assert area(outlines[0][place]) == pytest.approx(area(outlines[1][place]))
        assert all(0 <= x <= WIDTH + 1e-6 for x, _ in outlines[0][place])


def test_references_and_the_best_are_shown_and_the_others_named(audit: ReportData, roster: Roster) -> None:
    original = audit.worlds.filter(pl.col("method") == "retrain").with_columns(method=pl.lit("original"))
    panels, left_out = world_panels(pl.concat([audit.worlds, original]), audit.effects, roster)
    assert len(panels) == MOST
    assert [entry.method for entry in left_out] == ["gradient_ascent"]
    assert sum("original" in panel.words for panel in panels) == 2


def test_what_is_missing_is_not_drawn(audit: ReportData, roster: Roster, watch: Watch) -> None:
    only = audit.worlds.filter(pl.col("world") != "R").with_columns(
        phi=pl.when(pl.col("world") == "O").then(pl.lit(None, pl.Float64)).otherwise("phi")
    )
    panels, _ = world_panels(only, audit.effects.clear(), roster)
    spy = watch(panels[0])
    assert not any(text.startswith("d = ") for text in spy.texts)
    assert "never in" not in panels[0].words
    assert "retrained" not in panels[0].words
    assert len(spy.drawn["area"]) == 3
    assert world_panels(audit.worlds.clear(), audit.effects, roster) == ([], [])


def test_a_phi_that_is_everywhere_the_same_has_one_bar(audit: ReportData, roster: Roster, watch: Watch) -> None:
    spy = watch(world_panels(audit.worlds.with_columns(phi=pl.lit(3.0)), audit.effects, roster)[0][0])
    for args in spy.drawn["area"]:
        tops = [y for _, y in args[0][1:-1:2]]
        assert sorted(tops) == [TOP] + [BOTTOM] * (BINS - 1)
