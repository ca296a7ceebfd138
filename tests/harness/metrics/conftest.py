from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

IDENTITY = {
    "unit": pl.String(),
    "kind": pl.String(),
    "dataset": pl.String(),
    "scenario": pl.String(),
    "architecture": pl.String(),
    "method": pl.String(),
    "config": pl.String(),
    "seed": pl.Int64(),
    "attempt": pl.Int32(),
}
UNITS = IDENTITY | {"status": pl.String(), "device": pl.String()}
METRICS = IDENTITY | {"part": pl.String(), "metric": pl.String(), "value": pl.Float64()}

ACCURACY = {"retain": 0.9, "forget": 0.8, "val": 0.7, "test": 0.6}


class Tables:
    """The `units` and `metrics` tables of a small study, written one unit at a time."""

    def __init__(self) -> None:
        self.unit_rows: list[dict[str, Any]] = []
        self.metric_rows: list[dict[str, Any]] = []

    def add(
        self,
        kind: str,
        method: str,
        values: dict[tuple[str, str], float | None] | None = None,
        **columns: Any,
    ) -> None:
        """Add a unit of a kind and its stored values, by (metric, part)."""
        identity = {
            "unit": f"{len(self.unit_rows):020x}",
            "kind": kind,
            "dataset": "digits",
            "scenario": "random:0.1",
            "architecture": "cnn_small",
            "method": method,
            "config": "default",
            "seed": 0,
            "attempt": 1,
        }
        extra = {"status": "done", "device": "cpu"}
        identity |= {name: value for name, value in columns.items() if name in identity}
        extra |= {name: value for name, value in columns.items() if name in extra}
        self.unit_rows.append(identity | extra)
        for (metric, part), value in (values or {}).items():
            self.metric_rows.append(identity | {"part": part, "metric": metric, "value": value})

    def trial(
        self, method: str, accuracy: dict[str, float] | None = None, mia: float | None = 0.5, **columns: Any
    ) -> None:
        """Add a trial with all base metrics; `retrain` is a unit of its own kind."""
        values: dict[tuple[str, str], float | None] = {}
        for part, value in (ACCURACY | (accuracy or {})).items():
            values |= {("accuracy", part): value, ("loss", part): 1 - value}
        values |= {("population_mia", "val"): mia, ("population_mia", "test"): mia}
        self.add("retrain" if method == "retrain" else "unlearn", method, values, **columns)

    def timing(self, method: str, seconds: float | None, **columns: Any) -> None:
        """Add a timing unit."""
        self.add("timing", method, {("seconds", "all"): seconds}, **columns)

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the tables."""
        return pl.DataFrame(self.unit_rows, schema=UNITS), pl.DataFrame(self.metric_rows, schema=METRICS)


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture(scope="session")
def new_tables() -> Callable[[], Tables]:
    return Tables
