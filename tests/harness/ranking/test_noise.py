"""The distance from retrain in units of its noise, as `rankings` has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.metrics import in_retrain_sd
from harness.ranking import rank

Frame = Callable[..., pl.DataFrame]
METRIC = "accuracy_test"
NAN = float("nan")


@pytest.fixture
def two_cells(frame: Frame) -> pl.DataFrame:
    """Retrain: 0.80 ± 0.01 in one cell, 0.60 ± 0.10 in the other; `ct` is 2 above there, 1 below here."""
    retrain = np.array([[0.79, 0.80, 0.81], [0.50, 0.60, 0.70]])
    own = np.array([[0.82, 0.82, 0.82], [0.45, 0.50, 0.55]])
    return frame({"retrain": retrain, "ct": own, "msg": np.array([[0.8, 0.8, 0.8], [NAN, NAN, NAN]])}, metric=METRIC)


def z_of(table: pl.DataFrame, method: str, metric: str = METRIC) -> Any:
    return table.filter(method=method, metric=metric, group="overall").select("z", "z_low", "z_high").row(0)


def test_it_is_the_mean_over_cells_and_its_limits_add_up_as_squares(two_cells: pl.DataFrame) -> None:
    z, low, high = z_of(rank(two_cells, study="s", metrics=(METRIC,), also=(), draws=50), "ct")
    cells = in_retrain_sd(two_cells).filter(method="ct").sort("value")
    np.testing.assert_allclose(cells["value"], [-1, 2], atol=1e-9)
    assert z == pytest.approx(0.5)
    below, above = cells["value"] - cells["low"], cells["high"] - cells["value"]
    assert low == pytest.approx(0.5 - np.hypot(*below) / 2)
    assert high == pytest.approx(0.5 + np.hypot(*above) / 2)


def test_a_method_without_a_value_in_a_cell_has_none_and_neither_has_the_mean_rank(two_cells: pl.DataFrame) -> None:
    table = rank(two_cells, study="s", metrics=(METRIC,), also=(), draws=50, failed="majority")
    assert z_of(table, "msg") == (None, None, None)
    assert z_of(table, "ct", "overall") == (None, None, None)
    z, low, high = z_of(table, "retrain")
    assert z == pytest.approx(0, abs=1e-9)
    assert low is high is None
