"""What the tables say about a plan, as plain frames."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from harness.frames import of_units
from harness.metrics import derive, frame, usable
from harness.metrics.challenge import of_farm, of_trials
from harness.ranking import rank_study
from harness.store import Store
from harness.tracking.estimates import cell_estimates
from harness.tracking.plan import KEY, StoredPlan


@dataclass(frozen=True)
class Results:
    """The rows of one plan. `trials` and `judged` are those of `harness.metrics.derive` and `usable`.

    `estimates` has a mean and its interval for each cell and metric. `rankings` is made of these very
    trials, whatever plan of the study was ranked last; `is_reported` says whether that was this one, so
    that the report page speaks of it.
    """

    units: pl.DataFrame
    trials: pl.DataFrame
    judged: pl.DataFrame
    estimates: pl.DataFrame
    rankings: pl.DataFrame
    is_reported: bool
    epochs: pl.DataFrame
    failures: pl.DataFrame
    attacks: pl.DataFrame
    definitions: pl.DataFrame


def read_results(plan: StoredPlan, store: Store) -> Results:
    """Return what the tables of a root hold about a plan."""
    planned = [unit.id for unit in plan.units]
    units = of_units(store, "units", planned)
    of_cells = [unit.id for units in plan.cells.values() for unit in units]
    trials = derive(units, of_units(store, "metrics", of_cells))
    judged = usable(trials, plan.classes)
    rankings = rank_study(trials, study=plan.study, classes=plan.classes)
    table = store.scan("rankings").filter(pl.col("study") == plan.study).collect()
    return Results(
        units=units,
        trials=trials,
        judged=judged,
        estimates=cell_estimates(trials, judged),
        rankings=rankings,
        is_reported=_same_values(rankings, table),
        epochs=of_units(store, "epochs", of_cells).sort("unit", "epoch"),
        failures=of_units(store, "failures", planned).sort("unit", "attempt"),
        attacks=_attacks(plan, store),
        definitions=frame(),
    )


def _attacks(plan: StoredPlan, store: Store) -> pl.DataFrame:
    """Return the audit of the plan's methods, once for every scenario: it has forget sets of its own.

    What was found on trials belongs to the cell of these alone.
    """
    cells = plan.cell_frame
    own = store.scan("attacks").filter(pl.col("study") == plan.study).collect()
    audited = of_farm(own).drop("scenario").join(cells, on=[name for name in KEY if name != "scenario"])
    scored = of_trials(own).join(cells, on=KEY, how="semi")
    return pl.concat([audited.select(own.columns), scored]).sort(*KEY, "pool", "null", "level", "metric")


def _same_values(rankings: pl.DataFrame, table: pl.DataFrame) -> bool:
    """Whether a stored ranking has the competitors and values of one made now (last bits may differ)."""
    both = rankings.join(table, on=["group", "metric", "method", "config"], how="inner", suffix="_stored")
    value, stored = pl.col("value"), pl.col("value_stored")
    same = value.eq_missing(stored) | ((value - stored).abs() < 1e-9).fill_null(False)
    return both.height == rankings.height == table.height and bool(both.select(same.all()).item())
