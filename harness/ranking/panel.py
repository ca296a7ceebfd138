"""From a long frame of trials to arrays [cells, seeds, competitors], and the groups of cells to rank in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.metrics import CELL, ORIGINAL, RETRAIN, TRIAL, definition
from harness.ranking.bootstrap import Bools, Floats

FailedRule = Literal["any", "majority"]

REFERENCES = (RETRAIN, ORIGINAL)
COMPETITOR = ("method", "config")
_SEARCHED = r"(^|,)(?:search:[^,]*|suggestion=\d+)$"
_AXES: dict[str, tuple[str, ...]] = {"cell_at": CELL, "seed_at": ("seed",), "competitor_at": COMPETITOR}


class InvalidRanking(HarnessError):
    """Values that cannot be ranked as asked."""


@dataclass(frozen=True, eq=False)
class Panel:
    """The trials of one group of cells.

    A competitor is a (method, config). `ran` and `unusable`, both [cells, seeds, competitors], say which
    trials there are and which of them gave no usable model. Per metric, `values` and `losses`, [cells,
    seeds, competitors], have NaN where there is no usable value; a loss is what is ranked, lower is better.
    """

    group: str
    cells: tuple[tuple[str, str, str], ...]
    competitors: tuple[tuple[str, str], ...]
    ran: Bools
    unusable: Bools
    values: dict[str, Floats]
    losses: dict[str, Floats]

    @property
    def references(self) -> Bools:
        """Which competitors, [competitors], are references: valued, never ranked."""
        return np.array([method in REFERENCES for method, _ in self.competitors], dtype=bool)

    @property
    def grid(self) -> Bools:
        """Which seeds the methods ran with in each cell, [cells, seeds]; the references' if no method ran."""
        methods = self.ran[..., ~self.references].any(axis=2)
        return np.asarray(methods if methods.any() else self.ran.any(axis=2))

    def failed(self, rule: FailedRule) -> Bools:
        """Say which competitors failed, [competitors]: `any` or the `majority` of their trials unusable."""
        return self._failed(rule, (0, 1))

    def failed_in_cells(self, rule: FailedRule) -> Bools:
        """Say the same of each cell by itself, [cells, competitors]."""
        return self._failed(rule, 1)

    def _failed(self, rule: FailedRule, axis: int | tuple[int, int]) -> Bools:
        unusable, trials = self.unusable.sum(axis=axis), self.ran.sum(axis=axis)
        failed = unusable > 0 if rule == "any" else 2 * unusable > trials
        return np.asarray(failed & ~self.references)

    def groups(self) -> Iterator[Panel]:
        """Yield the whole as `overall`, then each architecture and each data set if there are several."""
        yield self
        for name in ("architecture", "dataset"):
            labels = [cell[CELL.index(name)] for cell in self.cells]
            if len(set(labels)) > 1:
                for label in sorted(set(labels)):
                    yield self._part(f"{name}={label}", np.array([other == label for other in labels]))

    def _part(self, group: str, cells: Bools) -> Panel:
        runs = self.ran[cells].any(axis=(0, 1))
        return Panel(
            group,
            tuple(self.cells[at] for at in np.flatnonzero(cells)),
            tuple(self.competitors[at] for at in np.flatnonzero(runs)),
            self.ran[cells][..., runs],
            self.unusable[cells][..., runs],
            {metric: table[cells][..., runs] for metric, table in self.values.items()},
            {metric: table[cells][..., runs] for metric, table in self.losses.items()},
        )


def panel(values: pl.DataFrame, metrics: Sequence[str], usable: pl.DataFrame | None) -> Panel:
    """Arrange a long frame of trials; see `harness.ranking.rank` for `values` and `usable`.

    Configs `search:<id>` are one competitor, `search`: each cell has a search of its own. Raises
    UnknownMetric, or InvalidRanking if a competitor has two values for a cell, seed and metric, or `usable`
    lacks a trial.
    """
    rows = judged(values, usable)
    rows = _where_a_method_ran(_with_losses(rows, metrics))
    labels = [rows.select(key).unique().sort(key) for key in _AXES.values()]
    for (place, key), label in zip(_AXES.items(), labels, strict=True):
        rows = rows.join(label.with_row_index(place), on=key, maintain_order="left")
    shape = tuple(label.height for label in labels)
    of_metric = {metric: rows.filter(pl.col("metric") == metric) for metric in metrics}
    return Panel(
        "overall",
        tuple(labels[0].rows()),
        tuple(labels[2].rows()),
        _mark(rows, shape),
        _mark(rows.filter(~pl.col("usable")), shape),
        {metric: _table(own, "value", shape) for metric, own in of_metric.items()},
        {metric: _table(own, "loss", shape) for metric, own in of_metric.items()},
    )


def judged(values: pl.DataFrame, usable: pl.DataFrame | None) -> pl.DataFrame:
    """Return the rows with `usable`, the values of unusable trials cleared, and searched configs as one, `search`.

    Raises InvalidRanking as `panel` does.
    """
    rows = merge_searches(_with_usable(values, usable))
    _refuse_repeats(rows)
    return rows


def competitor_config(config: str) -> str:
    """Return a config as competitors have it: what was searched, and every trial of a search, is `search`.

    What the study gave stays in front: `alpha=0.5,search`.
    """
    return re.sub(_SEARCHED, r"\1search", config)


def merge_searches(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with `competitor_config` of each config."""
    return frame.with_columns(pl.col("config").str.replace(_SEARCHED, "${1}search"))


def _with_usable(values: pl.DataFrame, usable: pl.DataFrame | None) -> pl.DataFrame:
    """Add `usable` and clear the values of unusable trials and values that are not finite."""
    if usable is None:
        rows = values.with_columns(usable=pl.col("status") == "done")
    else:
        rows = values.join(usable.select(*TRIAL, "usable"), on=TRIAL, how="left", maintain_order="left")
    unknown = rows.filter(pl.col("usable").is_null())
    if unknown.height:
        raise InvalidRanking(f"whether trial {_trial(unknown)} is usable is not given; judge the same values")
    return rows.with_columns(value=pl.when(pl.col("usable") & pl.col("value").is_finite()).then("value"))


def _where_a_method_ran(rows: pl.DataFrame) -> pl.DataFrame:
    """Drop cells in which only references ran, unless there is nothing else."""
    methods = rows.filter(~pl.col("method").is_in(REFERENCES))
    return rows.join(methods, on=CELL, how="semi", maintain_order="left") if methods.height else rows


def _with_losses(rows: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Add `loss`, lower is better: the value, its negative, or its distance from the reference."""
    key = [*CELL, "seed", "metric"]
    # A retrain has one config per cell and seed, so this join adds no rows.
    retrain = rows.filter(pl.col("method") == RETRAIN).select(*key, retrain="value")
    joined = rows.join(retrain, on=key, how="left", maintain_order="left")
    loss: pl.Expr = pl.lit(None, dtype=pl.Float64)
    for metric in metrics:
        loss = pl.when(pl.col("metric") == metric).then(_loss(metric)).otherwise(loss)
    return joined.with_columns(loss=loss)


def _loss(metric: str) -> pl.Expr:
    meaning, value = definition(metric), pl.col("value")
    if meaning.direction == "closest":
        fixed = meaning.reference_value
        return (value - (pl.col("retrain") if fixed is None else fixed)).abs()
    return value if meaning.direction == "lower" else -value


def _refuse_repeats(rows: pl.DataFrame) -> None:
    repeated = rows.filter(rows.select(*TRIAL, "metric").is_duplicated())
    if repeated.height:
        metric = repeated["metric"][0]
        raise InvalidRanking(f"several values of {metric} for trial {_trial(repeated)}; keep one")


def _trial(rows: pl.DataFrame) -> str:
    return " ".join(str(part) for part in rows.select(TRIAL).row(0))


def _places(rows: pl.DataFrame) -> tuple[NDArray[np.uint32], ...]:
    return tuple(rows[place].to_numpy() for place in _AXES)


def _mark(rows: pl.DataFrame, shape: tuple[int, ...]) -> Bools:
    marks = np.zeros(shape, dtype=bool)
    marks[_places(rows)] = True
    return marks


def _table(rows: pl.DataFrame, column: str, shape: tuple[int, ...]) -> Floats:
    table = np.full(shape, np.nan)
    table[_places(rows)] = rows[column].fill_null(float("nan")).to_numpy()
    return table
