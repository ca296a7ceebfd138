"""Anyone's results, one CSV row per trial, as the frame of `harness.metrics.derive`: same formulas, same tables.

Required columns: dataset, architecture, method, seed, accuracy_retain, accuracy_forget, accuracy_test. Optional ones:
scenario, config, status (done, diverged or failed), classes (how many the data set has: models no better than chance
count as failed), accuracy_val, population_mia_val, population_mia_test, seconds (of unlearning; of training for
retrain). Accuracies and attacks are fractions from 0 to 1. The method `retrain` is the reference, and has to be there
for each cell and seed; `original` is one too and need not be. A number that is empty or NaN makes its trial unusable,
and the method fails; seconds may be empty: not timed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from harness.errors import HarnessError, did_you_mean, one_line
from harness.metrics import CELL, RETRAIN, TRIAL, derive

REQUIRED_TEXT = ("dataset", "architecture", "method")
DEFAULTS = {"scenario": "not stated", "config": "default", "status": "done"}
REQUIRED_NUMBERS = ("accuracy_retain", "accuracy_forget", "accuracy_test")
FRACTIONS = (*REQUIRED_NUMBERS, "accuracy_val", "population_mia_val", "population_mia_test")
REQUIRED = (*REQUIRED_TEXT, "seed", *REQUIRED_NUMBERS)
COLUMNS = (*REQUIRED_TEXT, *DEFAULTS, "seed", "classes", *FRACTIONS, "seconds")

_STATUS = ("done", "diverged", "failed")
_NOTHING = ("", "nan", "na", "n/a", "null", "none")
_UNITS = dict.fromkeys(("unit", "kind", *CELL, "method", "config", "status", "device"), pl.String()) | {
    "seed": pl.Int64()
}
_METRICS = {"unit": pl.String(), "part": pl.String(), "metric": pl.String(), "value": pl.Float64()}

Rows = list[dict[str, Any]]


class InvalidResults(HarnessError):
    """A file of results that cannot be read as such."""


@dataclass(frozen=True)
class Foreign:
    """Results of a file: `values` as of `harness.metrics.derive`, `classes` by data set (infinite where they are not
    given: then no accuracy is by chance), and the columns that were `ignored`."""

    name: str
    values: pl.DataFrame
    classes: Mapping[str, float]
    ignored: tuple[str, ...]


@dataclass
class _Tables:
    units: Rows = field(default_factory=list)
    metrics: Rows = field(default_factory=list)

    def add(self, kind: str, trial: Mapping[str, Any], values: Iterable[tuple[str, str, float | None]]) -> None:
        unit = str(len(self.units))
        self.units.append({**trial, "unit": unit, "kind": kind, "device": "as given"})
        self.metrics += [
            {"unit": unit, "part": part, "metric": metric, "value": value} for metric, part, value in values
        ]


def read_results(path: Path | str) -> Foreign:
    """Read a CSV file, see above; rows are counted from 1, the head.

    Raises InvalidResults in one line: no such file, columns that are missing, a text where a number belongs, a number
    outside its range, a trial twice, a cell and seed without retrain.
    """
    path = Path(path)
    frame = _read(path)
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise InvalidResults(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)}")
    if frame.is_empty():
        raise InvalidResults(f"{path} has a head and no rows; give one row per trial")
    given = [name for name in COLUMNS if name in frame.columns]
    rows = [_row(path, number, row) for number, row in enumerate(frame.select(given).iter_rows(named=True), start=2)]
    _refuse_repeats(path, rows)
    _refuse_lonely(path, rows)
    classes = _classes(path, rows)
    ignored = tuple(name for name in frame.columns if name not in COLUMNS)
    return Foreign(path.stem, derive(*_tables(rows)), classes, ignored)


def _read(path: Path) -> pl.DataFrame:
    try:
        # The text is decoded here so that a mark at its beginning, as Excel writes it, is not part of the first name.
        frame = pl.read_csv(path.read_text(encoding="utf-8-sig").encode(), infer_schema=False)
    except pl.exceptions.NoDataError:
        raise InvalidResults(f"{path} is empty; it needs the columns {', '.join(REQUIRED)}") from None
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise InvalidResults(f"{path} cannot be read as CSV: {one_line(error)}") from None
    return frame.rename(lambda name: str(name).strip()).with_columns(pl.all().str.strip_chars().fill_null(""))


def _row(path: Path, number: int, row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row with numbers for its texts; None for a number that is not there."""
    where = f"{path}, row {number}"
    for name in REQUIRED_TEXT:
        if not row[name]:
            raise InvalidResults(f"{where}: {name} is empty; every trial needs one")
    texts = {name: row.get(name) or default for name, default in DEFAULTS.items()}
    if texts["status"] not in _STATUS:
        raise InvalidResults(f"{where}: status {texts['status']!r} is none{did_you_mean(texts['status'], _STATUS)}")
    seed = _number(where, "seed", row["seed"])
    if seed is None or not seed.is_integer():
        raise InvalidResults(f"{where}: seed is {row['seed']!r}, must be a whole number")
    numbers = {name: _number(where, name, row[name]) for name in (*FRACTIONS, "seconds", "classes") if name in row}
    for name, value in numbers.items():
        _check_range(where, name, value)
    return {**{name: row[name] for name in REQUIRED_TEXT}, **texts, "seed": int(seed), **numbers, "row": number}


def _number(where: str, name: str, text: str) -> float | None:
    if text.lower() in _NOTHING:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidResults(f"{where}: {name} is {text!r}, must be a number (or empty)") from None


def _check_range(where: str, name: str, value: float | None) -> None:
    if value is None or not math.isfinite(value):  # unusable, which is a result and no error
        return
    if name in FRACTIONS and not 0 <= value <= 1:
        raise InvalidResults(f"{where}: {name} is {value:g}, must lie between 0 and 1 (a fraction, no percentage)")
    if name == "seconds" and value < 0:
        raise InvalidResults(f"{where}: seconds is {value:g}, must not be negative")
    if name == "classes" and (value < 2 or not value.is_integer()):
        raise InvalidResults(f"{where}: classes is {value:g}, must be a whole number from 2 on")


def _refuse_repeats(path: Path, rows: Rows) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = tuple(row[name] for name in (*CELL, "seed") if row["method"] == RETRAIN) or tuple(row[n] for n in TRIAL)
        if key in seen:
            raise InvalidResults(f"{path}, row {row['row']}: the same trial as row {seen[key]}; keep one")
        seen[key] = row["row"]


def _refuse_lonely(path: Path, rows: Rows) -> None:
    place = [tuple(row[name] for name in (*CELL, "seed")) for row in rows]
    known = {at for at, row in zip(place, rows, strict=True) if row["method"] == RETRAIN}
    for at, row in zip(place, rows, strict=True):
        if at not in known:
            named = ", ".join(f"{name} {value}" for name, value in zip((*CELL, "seed"), at, strict=True))
            raise InvalidResults(f"{path}, row {row['row']}: no row of method {RETRAIN!r} for {named}; add one")


def _classes(path: Path, rows: Rows) -> dict[str, float]:
    given = {(row["dataset"], row["classes"]) for row in rows if row.get("classes")}
    twice = [dataset for dataset, count in Counter(dataset for dataset, _ in given).items() if count > 1]
    if twice:
        raise InvalidResults(f"{path}: several numbers of classes for data set {min(twice)!r}; keep one")
    return dict.fromkeys((row["dataset"] for row in rows), math.inf) | dict(given)


def _tables(rows: Rows) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables `units` and `metrics` that a study with these results would have."""
    tables = _Tables()
    for row in rows:
        trial = {name: row[name] for name in (*TRIAL, "status")}
        measured = [(*name.rsplit("_", 1), row[name]) for name in FRACTIONS if name in row]
        tables.add("retrain" if row["method"] == RETRAIN else "unlearn", trial, measured)
        seconds = row.get("seconds")
        if seconds is not None and math.isfinite(seconds):
            tables.add("timing", trial | {"status": "done"}, [("seconds", "all", seconds)])
    units = pl.DataFrame(tables.units, schema=_UNITS)
    return units, pl.DataFrame(tables.metrics, schema=_METRICS)
