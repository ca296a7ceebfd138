"""How entangled two sets of features are, by hand and by what must make no difference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.metrics.entanglement import entanglement

RETAIN, FORGET = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[4.0, 0.0], [6.0, 0.0]])


def test_it_is_the_spread_within_over_the_distance_between() -> None:
    """Each point is 1 from its own mean: 2 within; the means 1 and 5 are each 2 from their midpoint: 4 between."""
    assert entanglement(RETAIN, FORGET) == pytest.approx(0.5)
    assert entanglement(FORGET, RETAIN) == pytest.approx(0.5)


def test_neither_scale_nor_place_nor_copies_of_all_images_count_and_closeness_does() -> None:
    rng = np.random.default_rng(0)
    retain, forget = rng.normal(0, 1, (40, 3)), rng.normal(1, 2, (9, 3))
    found = entanglement(retain, forget)
    assert entanglement(5 * retain + 3, 5 * forget + 3) == pytest.approx(found)
    assert entanglement(np.tile(retain, (3, 1)), forget) == pytest.approx(found)
    apart = forget.mean(0) - retain.mean(0)
    assert entanglement(retain, forget + apart) == pytest.approx(found / 4)


def test_it_is_unknown_where_there_is_nothing_to_compare() -> None:
    assert math.isnan(entanglement(RETAIN, FORGET[:0]))
    assert math.isnan(entanglement(RETAIN[:0], FORGET))
    assert math.isnan(entanglement(RETAIN, RETAIN))
