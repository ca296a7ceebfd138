from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

SCHEMA = {
    "dataset": pl.String(),
    "scenario": pl.String(),
    "architecture": pl.String(),
    "method": pl.String(),
    "config": pl.String(),
    "seed": pl.Int64(),
    "status": pl.String(),
    "metric": pl.String(),
    "value": pl.Float64(),
    "flag": pl.String(),
}
Frame = Callable[..., pl.DataFrame]


def _frame(
    tables: Mapping[str, Any],
    metric: str = "retention_deviation",
    cells: list[tuple[str, str, str]] | None = None,
    config: str = "default",
) -> pl.DataFrame:
    """A long frame from tables [cells, seeds] by method; a NaN is a trial that failed."""
    rows = []
    for method, table in tables.items():
        for cell, seeds in enumerate(np.atleast_2d(np.asarray(table, dtype=float))):
            place = cells[cell] if cells else (f"data{cell}", "random:0.1", "cnn_small")
            for seed, value in enumerate(seeds):
                status = "failed" if np.isnan(value) else "done"
                known = None if np.isnan(value) else value
                flag = None if known is not None else "trial failed"
                rows.append((*place, method, config, seed, status, metric, known, flag))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture(scope="session")
def frame() -> Frame:
    return _frame
