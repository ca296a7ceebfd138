"""How far methods are from retrain in units of its noise, for a group of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from harness.metrics import CELL
from harness.ranking.bootstrap import Floats
from harness.ranking.panel import COMPETITOR, Panel

Z_COLUMNS = ("z", "z_low", "z_high")

_Three = tuple[float, float, float]
_UNKNOWN: _Three = (math.nan, math.nan, math.nan)


def z_columns(part: Panel, metric: str, spread: pl.DataFrame) -> dict[str, Floats]:
    """Return `Z_COLUMNS`, each [competitors]: the mean over the cells where a competitor ran, and its 95 % limits.

    `spread` is the frame of `harness.metrics.in_retrain_sd`. NaN where a cell has no z, or none with limits.
    """
    rows = (
        spread.filter(pl.col("metric") == metric).select(*CELL, *COMPETITOR, "value", "low", "high").fill_null(math.nan)
    )
    found: dict[tuple[str, ...], _Three] = {row[:-3]: row[-3:] for row in rows.iter_rows()}
    ran = np.asarray(part.ran.any(axis=1))
    means = [
        _mean([found.get((*part.cells[cell], *who), _UNKNOWN) for cell in np.flatnonzero(ran[:, at])])
        for at, who in enumerate(part.competitors)
    ]
    return dict(zip(Z_COLUMNS, np.array(means, dtype=float).reshape(-1, 3).T, strict=True))


def no_z(competitors: int) -> dict[str, Floats]:
    """Return the same for a metric that has none."""
    return {name: np.full(competitors, np.nan) for name in Z_COLUMNS}


def _mean(cells: Sequence[_Three]) -> _Three:
    """Return the mean of values with limits: cells are independent, so distances from a value to its limits add up as
    squares (Zou and Donner 2008, Stat. Med. 27)."""
    if not cells:
        return _UNKNOWN
    value, low, high = np.array(cells).T
    mean = float(value.mean())
    below, above = math.sqrt(((value - low) ** 2).sum()), math.sqrt(((high - value) ** 2).sum())
    return mean, mean - below / len(cells), mean + above / len(cells)
