"""What a report is made of: plain frames, no store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import polars as pl

from harness.metrics import CELL
from harness.metrics.drawn import EFFECTS, GROWTH, ROC, WORLDS
from harness.ranking import CELLS_SCHEMA, Friedman

Cell = tuple[str, str, str]

PLACE = ("dataset", "architecture")
TRACES = pl.Schema(
    dict.fromkeys(("unit", *CELL, "method", "config", "name"), pl.String)
    | {"seed": pl.Int64, "epoch": pl.Int32, "values": pl.List(pl.Float32)}
)
SHEETS = pl.Schema(
    dict.fromkeys(("unit", *CELL, "method", "config", "name", "png", "status"), pl.String)
    | {"seed": pl.Int64, "images": pl.Int64, "steps": pl.Int64, "work_seconds": pl.Float64}
)
PLANNED = pl.Schema(dict.fromkeys(("unit", "kind", *CELL, "method", "config"), pl.String) | {"seed": pl.Int64})

SPREAD = pl.Schema(
    dict.fromkeys((*CELL, "method", "config", "metric", "flag"), pl.String)
    | dict.fromkeys(("value", "low", "high"), pl.Float64)
)


@dataclass(frozen=True)
class ReportData:
    """Everything that the page of one study shows.

    `trials` is the long frame of `harness.metrics.derive`, `definitions` that of `harness.metrics.frame`; the
    others are the tables of the same name, cut to the study. Four come from its audit, see `harness.metrics.drawn`:

    * `roc`: the ROC of the headline attack.
    * `effects`: the effect size d = (mean_U - mean_null) / sd of phi of each example, by its position in
      the pool, with its standard error and p value; `flagged` by Benjamini-Hochberg at 5 % within a method, pool
      and null.
    * `worlds`: phi of a few chosen examples in every release; world U is unlearned, O never in, R
      retrained.
    * `growth`: the AUC that `n` shadows find, `expected` from the effect that all of them see, and
      the smallest AUC that is `detectable` with them (power 80 %).

    `cells` is the table of `harness.ranking.cell_table`, `friedman` the tests of `harness.ranking.friedman_tests`.

    `spread` is the frame of `harness.metrics.in_retrain_sd`.

    `planned` has a row for each unit of the plan, run or not, with the columns of `PLANNED`; empty where the plan is
    not known.

    Any frame may be empty. `title_line` says in one line what was run (`digits, cnn_small, random:0.1, 3 seeds`);
    `sees_validation` names the methods that may read the validation part, `chosen_on_test` those whose model was
    chosen by its accuracy on test; `cautions` are sentences about its scenarios that have to be said with their
    numbers; `forget_classes` are the classes that each scenario forgets, `follows` the request before each (empty:
    none). `sheets` are the sheets of artifacts with how these were made, `artifact_traces` what they noted; `traces`
    are those of methods.
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
    roc: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=ROC))
    effects: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=EFFECTS))
    worlds: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=WORLDS))
    growth: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=GROWTH))
    cells: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=CELLS_SCHEMA))
    spread: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=SPREAD))
    friedman: tuple[Friedman, ...] = ()
    planned: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=PLANNED))
    sees_validation: tuple[str, ...] = ()
    chosen_on_test: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    traces: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=TRACES))
    sheets: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=SHEETS))
    artifact_traces: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=TRACES))
    forget_classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)


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


def in_panels(rows: pl.DataFrame, *setting: str) -> Iterator[tuple[str, tuple[str, ...], pl.DataFrame]]:
    """Yield the rows of each place and setting in their order, with how the place is named and the setting's values.

    The only place of a study needs no name.
    """
    several_places = rows.select(PLACE).n_unique() > 1
    for own in rows.partition_by(*PLACE, *setting, maintain_order=True):
        dataset, architecture, *values = own.select(*PLACE, *setting).row(0)
        yield f"{dataset} {architecture}, " if several_places else "", tuple(values), own
