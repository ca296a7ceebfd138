"""The map of effects: every flagged example is drawn where its d is, and columns keep the shape of the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.attacks import smallest_detectable_effect_per_example
from harness.report import ReportData
from harness.report.dmap import MANY, PITCH, ROOM, WIDEST, effect_panels, swarm
from harness.report.palette import BAND, MUTED
from harness.report.roster import Roster, make_roster
from harness.report.scales import Scale
from harness.report.sheet import compose
from harness.report.svg import Inliner
from harness.store.schemas import polars_schema

Watch = Callable[..., Any]
SCALE = Scale(-2, 6, 100, 340)


@pytest.fixture(scope="module")
def audit(data: ReportData, with_audit: Callable[[ReportData], ReportData]) -> ReportData:
    return with_audit(data)


@pytest.fixture(scope="module")
def roster(audit: ReportData) -> Roster:
    return make_roster(audit.rankings, audit.trials, audit.attacks)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans()), max_size=2 * MANY + 50))
def test_flagged_examples_are_all_drawn_and_no_dot_is_far_from_its_d(examples: list[tuple[float, bool]]) -> None:
    dots = list(swarm(examples, SCALE))
    at = [SCALE.start + dot.column * PITCH for dot in dots if dot.flagged]
    wanted = sorted(SCALE(SCALE.cut(d)) for d, flagged in examples if flagged)
    assert len(at) == len(wanted)
    assert all(abs(x - true) <= PITCH / 2 + 1e-6 for x, true in zip(sorted(at), wanted, strict=True))
    assert len({(dot.column, dot.level) for dot in dots}) == len(dots)
    if len(examples) <= MANY:
        assert len(dots) == len(examples)


def test_thinned_columns_keep_their_height() -> None:
    examples = [(0.001 * place, False) for place in range(-500, 500)]
    whole = Counter(round((SCALE(d) - SCALE.start) / PITCH) for d, _ in examples)
    dots = list(swarm(examples, SCALE))
    assert len(dots) < 2 * MANY
    for column, count in whole.items():
        levels = [abs(dot.level) for dot in dots if dot.column == column]
        assert count / 2 - max(levels) <= 1 + len(examples) / MANY


def test_a_panel_counts_what_is_flagged_and_shades_what_nobody_could_find(
    audit: ReportData, roster: Roster, watch: Watch
) -> None:
    panels = effect_panels(audit.effects, audit.attacks, roster)
    assert len(panels) == 2
    for panel, pool in zip(panels, ("canary", "clean"), strict=True):
        spy = watch(panel)
        own = audit.effects.filter(pl.col("pool") == pool)
        for entry in roster.among(own):
            flagged = own.filter(pl.col("method") == entry.method)["flagged"].sum()
            assert f"{entry.label} {flagged} of 40" in panel.words
            drawn = [args[0] for args in spy.of("dots", entry.colour) if args[2] == entry.colour]
            assert flagged in [len(points) for points in drawn]
        ((left, _), (right, _), _) = spy.of("band", BAND.light)[0]
        middle = next(args[0][0][0][0] for args in spy.drawn["lines"] if args[-1] == (3, 3))
        blind = smallest_detectable_effect_per_example(32)
        assert right - middle == pytest.approx(middle - left)
        pixels = [args for args in spy.drawn["text"] if args[1] in ("0", "2", "5")]
        zero, other = sorted(pixels, key=lambda args: float(args[1]))[:2]
        unit = (other[0][0] - zero[0][0]) / float(other[1])
        assert (right - middle) / unit == pytest.approx(blind, rel=1e-6)
        heights = [y for args in spy.of("dots", MUTED.light) for y in (point[1] for point in args[0])]
        assert heights
        rows = [max(ys) - min(ys) for args in spy.drawn["dots"] if (ys := [point[1] for point in args[0]])]
        assert max(rows) <= ROOM + PITCH


def test_unknown_effects_and_unknown_shadows_are_left_out(audit: ReportData, roster: Roster, watch: Watch) -> None:
    one = pl.col("example") == 0
    effects = audit.effects.with_columns(d=pl.when(one).then(None).otherwise("d"))
    panel = effect_panels(effects, audit.attacks.clear(), roster)[0]
    assert "retrain 0 of 39" in panel.words
    assert "band" not in watch(panel).drawn
    assert effect_panels(audit.effects.clear(), audit.attacks, roster) == []
    assert effect_panels(audit.effects.with_columns(null=pl.lit("R")), audit.attacks, roster) == []


def test_the_axis_ends_and_what_is_beyond_lies_on_its_edge(audit: ReportData, roster: Roster, watch: Watch) -> None:
    effects = audit.effects.with_columns(d=pl.col("d") * 100)
    for panel in effect_panels(effects, audit.attacks, roster):
        spy = watch(panel)
        ticks = [float(text.replace("\u2212", "-")) for text in spy.texts if text.lstrip("\u2212").isdecimal()]
        assert max(map(abs, ticks)) <= WIDEST
        axis = next(args for args in spy.drawn["line"])
        xs = [x for args in spy.drawn["dots"] for x, _ in args[0]]
        assert min(xs) >= axis[0][0] - 1e-6
        assert max(xs) <= axis[1][0] + PITCH


@pytest.mark.slow
def test_many_methods_and_examples_stay_light() -> None:
    methods, examples = [f"method_{place:02d}" for place in range(20)], range(1_000)
    key = {"dataset": "digits", "architecture": "cnn_small", "config": "default", "null": "O"}
    rows = [
        key | {"method": method, "pool": pool, "example": example, "flagged": example % 3 == 0}
        | {"d": math.sin(example) * (1 + place / 5) + (place if example % 3 == 0 else 0) * 0.3}
        for place, method in enumerate(methods)
        for pool in ("canary", "clean")
        for example in examples
    ]  # fmt: skip
    effects = pl.DataFrame(rows)
    panels = effect_panels(effects, pl.DataFrame(schema=polars_schema("attacks")), make_roster(effects))
    inliner = Inliner()
    size = sum(len(inliner.inline(compose([panel]), panel.words).encode()) for panel in panels)
    assert len(panels) == 2
    assert size < 500_000, size
