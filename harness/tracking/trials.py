"""The trials behind a run, from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from harness.frames import of_units
from harness.metrics import derive
from harness.store import Store
from harness.tracking.errors import NoSuchRun
from harness.tracking.plan import KEY, Cell, PlannedUnit, StoredPlan


@dataclass(frozen=True)
class TrialRow:
    """A trial. `status` is done, diverged, failed, or waiting; `metrics` are those whose value is known."""

    unit: str
    seed: int
    status: str
    metrics: Mapping[str, float]


def trials_of(plan: StoredPlan, cell: Cell, store: Store) -> list[TrialRow]:
    """Return the trials of a cell of a plan by seed, with every metric of `harness.metrics.derive`."""
    # Most metrics are relative to the retrain of the same data set, scenario and architecture.
    place = [getattr(cell, name) for name in KEY[:3]]
    near = [unit.id for units in plan.cells.values() for unit in units if _place(unit) == place]
    units = of_units(store, "units", near)
    values = derive(units, of_units(store, "metrics", near)).filter(
        pl.col("value").is_not_null(), *(pl.col(name) == getattr(cell, name) for name in KEY)
    )
    known = {seed: dict(own.select("metric", "value").iter_rows()) for (seed,), own in values.group_by("seed")}
    states = dict(units.select("unit", "status").iter_rows())
    trials = sorted((unit for unit in plan.cells[cell] if unit.is_trial), key=lambda unit: unit.seed)
    return [TrialRow(one.id, one.seed, states.get(one.id, "waiting"), known.get(one.seed, {})) for one in trials]


def find_unit(plans: Iterable[StoredPlan], beginning: str) -> list[tuple[StoredPlan, PlannedUnit]]:
    """Return the unit whose id begins like this, once for every plan that has it; nothing if there is none.

    Raises NoSuchRun if several begin so.
    """
    found = [(plan, unit) for plan in plans for unit in plan.units if unit.id.startswith(beginning)]
    ids = {unit.id for _, unit in found}
    if len(ids) > 1:
        raise NoSuchRun(f"{len(ids)} units begin with {beginning!r}; give more digits")
    return found


def _place(unit: PlannedUnit) -> list[str]:
    return [getattr(unit.cell, name) for name in KEY[:3]]
