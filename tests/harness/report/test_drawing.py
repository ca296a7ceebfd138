"""Scales, ticks and labels: what keeps a picture true and readable."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.report.labels import Box, place_labels
from harness.report.scales import Scale, is_skewed, span, spread

values = st.floats(0, 1e4).filter(lambda value: value == 0 or value > 1e-6)


@given(values, values, st.booleans(), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_a_scale_keeps_the_order_and_hits_its_ends(low: float, high: float, root: bool, shares: list[float]) -> None:
    assume(high > low * (1 + 1e-3) + 1e-3)
    scale = Scale(low, high, 10, 210, root)
    assert abs(scale(low) - 10) < 1e-6
    assert abs(scale(high) - 210) < 1e-6
    pixels = [scale(low + share * (high - low)) for share in sorted(shares)]
    assert pixels == sorted(pixels)


@given(values, values, st.booleans())
def test_ticks_lie_inside_and_apart(low: float, high: float, root: bool) -> None:
    assume(high > low * (1 + 1e-3) + 1e-3)
    scale = Scale(low, high, 0, 200, root)
    ticks = scale.ticks(38)
    assert all(low <= tick <= high for tick in ticks)
    assert all(scale(b) - scale(a) >= 9 for a, b in pairwise(ticks))


def test_a_root_scale_shows_zero_and_a_pressed_one_is_noticed() -> None:
    scale = Scale(0, 2, 0, 200, root=True)
    assert scale(0) == 0
    assert scale(0.02) == 20
    assert 0 in scale.ticks()
    assert is_skewed([0, 0.02, 0.03, 0.04, 1.5])
    assert not is_skewed([0.9, 0.92, 0.95])
    assert not is_skewed([-1, 0.01, 5])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_a_span_holds_all_values_and_stops_at_0_and_1(found: list[float]) -> None:
    reach = span(found)
    assert reach is not None
    low, high = reach
    assert low <= min(found) <= max(found) <= high
    assert low < high
    if min(found) >= 0:
        assert low >= 0
    assert span([None, float("nan")]) is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=3))
def test_spread_keeps_order_and_gap(places: list[float]) -> None:
    moved = spread(places, 12)
    order = sorted(range(len(places)), key=lambda at: places[at])
    ordered = [moved[at] for at in order]
    assert all(b - a >= 12 - 1e-3 for a, b in pairwise(ordered))


pixels = st.tuples(st.integers(60, 400), st.integers(40, 300))


@settings(max_examples=40)
@given(st.lists(pixels, min_size=1, max_size=6, unique=True))
def test_names_of_points_can_be_read_and_stay_inside(points: list[tuple[float, float]]) -> None:
    assume(all(math.dist(one, other) > 20 for one, other in combinations(points, 2)))
    frame = Box(0, 0, 460, 340)
    labels = place_labels([(point, 5.0, "method") for point in points], [], frame, 11.5)
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for label, point in zip(labels, points, strict=True):
        assert label.box.outside(frame) == 0
        others = [other.box for other in labels if other is not label]
        assert all(label.box.overlap(box) <= 20 for box in (*marks, *others))  # of 520 square pixels
        assert label.box.distance(point) == min(label.box.distance(other) for other in points)
