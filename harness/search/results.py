"""What trials of searches and their retrains left behind, each read once: a search asks for the same rows often."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from harness.frames import among
from harness.search.objectives import MEASURED
from harness.store import Store

_COLUMNS = {
    "metrics": {"unit": pl.String, "part": pl.String, "metric": pl.String, "value": pl.Float64},
    "hyperparameters": {"unit": pl.String, "name": pl.String, "number": pl.Float64, "text": pl.String},
}
Tuples = list[tuple[Any, ...]]


@dataclass
class Results:
    """What objectives are made of, and the hyperparameters of some units, kept in memory once they were read.

    A driver that tells of each end spares itself the tables: at 50,000 units they take seconds to look through.
    """

    store: Store
    units: frozenset[str]
    """What the first look at the tables reads at once."""
    _rows: dict[str, dict[str, Tuples]] = field(default_factory=dict)
    _began: bool = False

    def note(self, unit: str, *, done: bool) -> None:
        """Read what a unit left that ends now; nothing if it failed."""
        if unit in self.units:
            left = self.store.left_by(unit, tuple(_COLUMNS)) if done else {}
            if left is not None:
                self._rows[unit] = {
                    table: _lean(table, zip(*(rows[name].to_pylist() for name in _COLUMNS[table]), strict=True))
                    for table, rows in left.items()
                }

    def metrics(self, units: Collection[str]) -> pl.DataFrame:
        """Return `unit, part, metric, value` of those units that have a result; of the metrics in `MEASURED` alone."""
        return pl.DataFrame(self._of("metrics", units), schema=_COLUMNS["metrics"], orient="row")

    def hyperparameters(self, units: Collection[str]) -> Tuples:
        """Return `unit, name, number, text` of those units that have a result."""
        return self._of("hyperparameters", units)

    def _of(self, table: str, units: Collection[str]) -> Tuples:
        if any(unit not in self._rows for unit in units):
            self._read({*units, *(() if self._began else self.units)} - self._rows.keys())
        return [row for unit in units for row in self._rows.get(unit, {}).get(table, ())]

    def _read(self, units: Collection[str]) -> None:
        self._began = True
        for table, columns in _COLUMNS.items():
            rows = among(self.store.scan(table), units).select(*columns).collect()
            for row in _lean(table, rows.iter_rows()):
                self._rows.setdefault(row[0], {}).setdefault(table, []).append(row)


def _lean(table: str, rows: Iterable[tuple[Any, ...]]) -> Tuples:
    """Return rows without what nobody asks for, and each text but once: a driver keeps some of every unit."""
    wanted = (row for row in rows if table != "metrics" or (row[2], row[1]) in MEASURED)
    return [tuple(sys.intern(one) if isinstance(one, str) else one for one in row) for row in wanted]
