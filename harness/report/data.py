"""What a report is made of: plain frames, no store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from harness.metrics import CELL

Cell = tuple[str, str, str]


def _no_roc() -> pl.DataFrame:
    names = ("dataset", "architecture", "method", "config", "pool", "null")
    rates = ("fpr", "tpr", "low", "high")
    return pl.DataFrame(schema=dict.fromkeys(names, pl.String) | dict.fromkeys(rates, pl.Float64))


@dataclass(frozen=True)
class ReportData:
    """Everything that the page of one study shows.

    `trials` is the long frame of `harness.metrics.derive`, `definitions` that of `harness.metrics.frame`,
    `roc` that of `harness.audit.roc_curves`; the others are the tables of the same name, cut to the study.
    Any of them may be empty. `title_line` says in one line what was run (`digits, cnn_small, random:0.1, 3 seeds`);
    `sees_validation` names the methods that may read the validation part.
    """

    study: str
    question: str
    title_line: str
    trials: pl.DataFrame
    rankings: pl.DataFrame
    epochs: pl.DataFrame
    failures: pl.DataFrame
    attacks: pl.DataFrame
    definitions: pl.DataFrame
    units: pl.DataFrame
    roc: pl.DataFrame = field(default_factory=_no_roc)
    sees_validation: tuple[str, ...] = ()


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with null for every number that is not finite: there is nothing to draw or to rank."""
    numbers = pl.col(pl.Float64)
    return frame.with_columns(pl.when(numbers.is_finite()).then(numbers))


def finite_data(data: ReportData) -> ReportData:
    """Return the data with every frame `finite`."""
    frames: dict[str, Any] = {
        name: finite(value) for name, value in vars(data).items() if isinstance(value, pl.DataFrame)
    }
    return replace(data, **frames)


def cells_of(trials: pl.DataFrame) -> list[Cell]:
    """Return the cells (dataset, scenario, architecture) of the trials, sorted."""
    rows = trials.select(CELL).unique().sort(CELL).rows()
    return [(dataset, scenario, architecture) for dataset, scenario, architecture in rows]


def in_cell(frame: pl.DataFrame, cell: Cell) -> pl.DataFrame:
    """Return the rows of one cell."""
    return frame.filter(*(pl.col(name) == value for name, value in zip(CELL, cell, strict=True)))


def merge_searches(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with every config `search:<id>` as `search`: rankings count them as one competitor."""
    searched = pl.when(pl.col("config").str.starts_with("search:"))
    return frame.with_columns(config=searched.then(pl.lit("search")).otherwise("config"))
