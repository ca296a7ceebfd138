"""What a unit will cost: seconds of one worker, from what units like it have taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

from harness.contracts.method import METHODS, VARIANT
from harness.contracts.recipe import Recipe
from harness.contracts.space import Range, Value
from harness.store import Store
from harness.unit import Kind, Unit

CLASS = ("kind", "dataset", "architecture", "method")
"""Units that agree in these columns are priced alike, but for their epochs."""

RETRAIN = "retrain"

TRIALS = (Kind.UNLEARN, Kind.SEARCH, Kind.TIMING, Kind.SHADOW_UNLEARN)
TRAININGS = (Kind.ORIGINAL, Kind.RETRAIN, Kind.SHADOW, Kind.SHADOW_RETRAIN)
"""Kinds that do the same work, on other images or without measuring: each speaks for one that has not run yet."""

UNMEASURED = (Kind.TIMING, Kind.SHADOW, Kind.SHADOW_RETRAIN, Kind.SHADOW_UNLEARN)
"""Of those, the kinds that evaluate next to nothing: there the others speak for their work alone."""

Key = tuple[str, ...]


def epochs_of(unit: Unit) -> float | None:
    """Return the passes over its images that recipe or hyperparameters ask for, known before the unit runs.

    Of a method it is the sum of what it calls `epochs` or `..._epochs`; where a search will draw them, the mean of what
    it draws from. None where nobody asks for any: a method without epochs, and what looks at the model of a trial.
    """
    if unit.kind in TRAININGS or (unit.kind == Kind.TIMING and unit.method.name == RETRAIN):
        return float(unit.recipe.epochs)
    if unit.kind not in TRIALS:
        return None
    drawn = unit.origin is not None and unit.drawn is None
    return _epochs(unit.method.name, unit.recipe, tuple(unit.hyperparameters.items()), drawn)


@lru_cache(maxsize=4096)
def _epochs(method: str, recipe: Recipe, given: tuple[tuple[str, Value], ...], drawn: bool) -> float | None:
    spec, values = METHODS[method], dict(given)
    complete = spec.complete(values)
    ranges = spec.space_of(str(complete.get(VARIANT, "default")))
    named = [name for name in complete if name == "epochs" or name.endswith("_epochs")]
    searched = [name for name in named if drawn and name not in values and ranges[name].searched]
    means = {name: _mean(ranges[name], recipe) for name in searched}
    return sum(means[name] if name in means else float(complete[name]) for name in named) if named else None


def _mean(drawn: Range, recipe: Recipe) -> float:
    """Return the mean of what a search draws evenly; one that learns what is good draws it more often, which nobody
    knows before."""
    if drawn.options:
        options = [float(one) for one in drawn.choices(recipe)]
        return sum(options) / len(options)
    assert drawn.low is not None  # it is searched and has no options
    high = drawn.upper(recipe)
    return (high - drawn.low) / math.log(high / drawn.low) if drawn.log and high > drawn.low else (drawn.low + high) / 2


def measured(store: Store) -> pl.DataFrame:
    """Return the table `costs` of a root: what its units have taken so far."""
    return summed(store.scan("units")).collect()


def summed(units: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows of `costs` that rows of `units` make, those that failed left out."""
    done = units.filter((pl.col("status") != "failed") & pl.col("seconds").is_not_null())
    found = done.group_by(*CLASS, "device").agg(
        units=pl.len().cast(pl.Int64),
        seconds=pl.col("seconds").mean(),
        median=pl.col("seconds").median(),
        sd=pl.col("seconds").std(),
        work_seconds=pl.col("work_seconds").mean(),
        epochs=pl.col("epochs").mean(),
        share=pl.col("share").mean(),
        memory=pl.col("peak_memory").max(),
        last=pl.col("started").max(),
    )
    return found.sort(*CLASS, "device")


@dataclass
class Spent:
    """What some units have taken: sums of their seconds, of those at work, of those of a whole device, and of the
    epochs of the units that have any."""

    units: float = 0.0
    seconds: float = 0.0
    work: float = 0.0
    device: float = 0.0
    epochs: float = 0.0
    with_epochs: float = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take note of what a row of `costs` tells."""
        units, seconds, epochs = row["units"], row["units"] * row["seconds"], row["epochs"]
        self.units += units
        self.seconds += seconds
        self.work += units * (row["work_seconds"] or 0.0)
        self.device += seconds * (1.0 if row["share"] is None else row["share"])
        if epochs is not None:
            self.epochs += units * epochs
            self.with_epochs += units

    def of(self, epochs: float | None, work_alone: bool = False) -> float:
        """Return the seconds of a unit: its work goes by its epochs, loading and evaluating do not."""
        scale = 1.0 if epochs is None or not self.epochs else epochs * self.with_epochs / self.epochs
        around = 0.0 if work_alone and self.work else self.seconds - self.work
        return (around + self.work * scale) / self.units


@dataclass
class Costs:
    """Prices units by what others have taken: those of its class, else those that do the same work, else of its kind.

    `stated` are seconds that somebody knows better, by `KIND` or `KIND/METHOD`, each of one `stated_share` of a device.
    """

    stated: Mapping[str, float] = field(default_factory=dict)
    stated_share: float = 1.0
    _spent: dict[Key, Spent] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pl.DataFrame, stated: Mapping[str, float] | None = None, stated_share: float = 1.0) -> Costs:
        """Return what the rows of `measured` tell; where several devices ran units of a class, the last one counts."""
        costs = cls(stated or {}, stated_share)
        for row in rows.sort("last").unique(CLASS, keep="last", maintain_order=True).iter_rows(named=True):
            costs._add(row)
        return costs

    def learn(self, unit: Unit, seconds: float) -> None:
        """Take note of a unit that ended. How much of it was work is in its rows alone, so that its class is not
        divided into epochs."""
        told = {"units": 1, "seconds": seconds, "work_seconds": None, "epochs": epochs_of(unit), "share": None}
        self._add(_columns(unit) | told)

    def price(self, unit: Unit) -> float | None:
        """Return the seconds of a unit; None where nothing like it has run on its data set and architecture."""
        stated = self._stated(unit)
        if stated is not None:
            return stated
        key, spent = self._like(unit)
        if spent is None:
            return None
        if key[0] == "kind":
            return spent.of(None)
        return spent.of(epochs_of(unit), work_alone=key[0] == "work" and unit.kind in UNMEASURED)

    def share(self, unit: Unit) -> float:
        """Return the share of a device that a unit takes."""
        _, spent = self._like(unit)
        if spent is None or not spent.seconds or self._stated(unit) is not None:
            return self.stated_share
        return spent.device / spent.seconds

    def guess(self, unit: Unit) -> float:
        """Return the seconds of a unit also where nothing like it has run: for each of its epochs what all others took
        for each of theirs, a unit without epochs counted as one. 0 where nothing has run."""
        found = self.price(unit)
        if found is not None:
            return found
        every = self._spent.get((), Spent())
        epochs = every.epochs + every.units - every.with_epochs
        return every.seconds / epochs * (epochs_of(unit) or 1.0) if epochs else 0.0

    def _stated(self, unit: Unit) -> float | None:
        names = (f"{unit.kind.value}/{unit.method.name}", unit.kind.value) if self.stated else ()
        return next((self.stated[name] for name in names if name in self.stated), None)

    def _like(self, unit: Unit) -> tuple[Key, Spent | None]:
        found = ((key, self._spent[key]) for key in _keys(_columns(unit)) if key in self._spent)
        return next(found, ((), None))

    def _add(self, row: Mapping[str, Any]) -> None:
        for key in (*_keys(row), ()):
            self._spent.setdefault(key, Spent()).add(row)


def _columns(unit: Unit) -> dict[str, Any]:
    return dict(zip(CLASS, (unit.kind, unit.dataset.label, unit.architecture.name, unit.method.name), strict=True))


def _keys(row: Mapping[str, Any]) -> Iterable[Key]:
    """Return what units are like a unit, the most like it first; each key says in its first word what it goes by."""
    kind, dataset, architecture, method = (str(row[name]) for name in CLASS)
    trains = kind in TRAININGS or (kind == Kind.TIMING and method == RETRAIN)
    work = RETRAIN if trains else f"trial {method}" if kind in TRIALS else f"{kind} {method}"
    yield ("class", kind, dataset, architecture, method)
    yield ("work", work, dataset, architecture)
    yield ("kind", kind, dataset, architecture)
