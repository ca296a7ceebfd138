"""What trials of searches and their retrains left behind, each read once: a search asks for the same rows often."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import polars as pl

from harness.frames import among
from harness.search.objectives import MEASURED, Measured
from harness.store import Store

_COLUMNS = {"metrics": ("unit", "metric", "part", "value"), "hyperparameters": ("unit", "name", "number", "text")}

Setting = tuple[str, float | None, str | None]
"""A hyperparameter: its name, and its number or text."""


@dataclass(slots=True)
class Left:
    """What a unit left: nothing if it failed. Of each of 50,000 there is one in memory."""

    measured: dict[tuple[str, str], float] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)


@dataclass
class Results:
    """What objectives are made of, and the hyperparameters of some units, kept in memory once they were read.

    A driver that tells of each end spares itself the tables: at 50,000 units they take seconds to look through.
    """

    store: Store
    units: frozenset[str]
    """What the first look at the tables reads at once."""
    _left: dict[str, Left] = field(default_factory=dict)
    _began: bool = False

    def note(self, unit: str, *, done: bool) -> None:
        """Read what a unit left that ends now; nothing if it failed."""
        if unit in self.units:
            left = self.store.left_by(unit, tuple(_COLUMNS)) if done else {}
            self._left.pop(unit, None)
            if left is not None:  # else another driver folded it: it is read from the tables
                self._left[unit] = Left()
                for table, rows in left.items():
                    self._keep(table, zip(*(rows[name].to_pylist() for name in _COLUMNS[table]), strict=True))

    def measured(self, units: Collection[str]) -> list[Measured]:
        """Return the metrics in `MEASURED` of some units, in their order."""
        return [left.measured for left in self._of(units)]

    def settings(self, units: Collection[str]) -> list[list[Setting]]:
        """Return the hyperparameters of some units, in their order."""
        return [left.settings for left in self._of(units)]

    def _of(self, units: Collection[str]) -> list[Left]:
        if any(unit not in self._left for unit in units):
            self._read({*units, *(() if self._began else self.units)} - self._left.keys())
        # Who is asked for has ended: where the tables hold nothing of it, they are not asked again.
        return [self._left.setdefault(unit, Left()) for unit in units]

    def _read(self, units: Collection[str]) -> None:
        self._began = True
        for table, columns in _COLUMNS.items():
            rows = self.store.scan(table)
            if table == "metrics":
                rows = rows.filter(pl.col("metric").is_in({metric for metric, _ in MEASURED}))
            self._keep(table, among(rows, units).select(*columns).collect().iter_rows())

    def _keep(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Keep of each unit what is asked for, and each text but once."""
        for unit, *row in rows:
            left = self._left.setdefault(unit, Left())
            if table == "hyperparameters":
                name, number, text = row
                left.settings.append((intern(name), number, text and intern(text)))
            elif (metric := MEASURED.get((row[0], row[1]))) and row[2] is not None:
                left.measured[metric] = row[2]
