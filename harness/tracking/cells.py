"""The child runs of a plan: one for each cell of which something has been run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from functools import partial
from itertools import pairwise

import polars as pl

from harness.metrics.challenge import of_farm
from harness.tracking import facts
from harness.tracking.content import CELL_TAG, NOTE_TAG, PARENT_TAG, PLAN_TAG, TRIALS_TAG, Content
from harness.tracking.notes import cell_note
from harness.tracking.numbers import Series, epoch_series, metrics_of, seed_series
from harness.tracking.plan import KEY, TRIAL_KINDS, Cell, PlannedUnit, StoredPlan
from harness.tracking.results import Results


class ByCell:
    """The rows of a frame by cell; those of no cell, such as thousands of trials of a search, are left out."""

    def __init__(self, frame: pl.DataFrame, cells: pl.DataFrame) -> None:
        self._empty = frame.clear()
        self._parts = frame.join(cells, on=KEY, how="semi", maintain_order="left").partition_by(KEY, as_dict=True)

    def __getitem__(self, cell: Cell) -> pl.DataFrame:
        return self._parts.get(astuple(cell), self._empty)


class CellRuns:
    """The contents of the cells, as children of the run `parent`."""

    def __init__(self, plan: StoredPlan, results: Results, parent: str) -> None:
        self._plan, self._results, self._parent = plan, results, parent
        by_cell = partial(ByCell, cells=plan.cell_frame)
        self._units, self._trials = by_cell(results.units), by_cell(results.trials)
        self._estimates, self._judged = by_cell(results.estimates), by_cell(results.judged)
        self._epochs, self._failures = by_cell(results.epochs), by_cell(results.failures)
        self._attacks = by_cell(results.attacks)
        self._rankings = results.rankings.partition_by("method", "config", as_dict=True)
        self._with_pools = len(plan.pools.union(of_farm(results.attacks)["pool"])) > 1
        self._differs = [name for name in KEY[:3] if len({getattr(cell, name) for cell in plan.cells}) > 1]
        methods = sorted({(cell.method, cell.config) for cell in plan.cells})
        self._repeated = {one for (one, _), (other, _) in pairwise(methods) if one == other}

    def __iter__(self) -> Iterator[Content]:
        for cell, planned in self._plan.cells.items():
            if self._units[cell].height:
                yield self._content(cell, planned)

    def _content(self, cell: Cell, planned: Sequence[PlannedUnit]) -> Content:
        units = self._units[cell]
        states = facts.states_of(units)
        trials = [unit for unit in planned if unit.is_trial]
        # Until every seed has ended, means over seeds move, and MLflow forgets no point and no parameter.
        has_ended = all(unit.id in states for unit in trials)
        rankings = self._rankings.get(cell.competitor, self._results.rankings.clear())
        metrics = metrics_of(self._estimates[cell], rankings, self._attacks[cell], with_pools=self._with_pools)
        seeds = sorted(unit.seed for unit in trials)
        note = cell_note(cell, seeds, metrics, self._results.definitions)
        return Content(
            key=str(cell),
            name=self._name(cell),
            status=facts.status_of(states.get(unit.id) for unit in planned),
            started=facts.started(units),
            ended=facts.ended(units),
            params=_asked(cell, planned[0], seeds) | (_values(units) if has_ended else {}),
            metrics=metrics,
            series=seed_series(self._trials[cell]) | (self._curves(cell) if has_ended else {}),
            tags=self._tags(cell) | {NOTE_TAG: note, TRIALS_TAG: facts.trial_ids(trials)},
            datasets=(trials[0].data,),
        )

    def _name(self, cell: Cell) -> str:
        """Return the method, with whatever else tells its cell from others of the plan."""
        config = [cell.config] if cell.method in self._repeated else []
        return " ".join([cell.method, *config, *(getattr(cell, name) for name in self._differs)])

    def _curves(self, cell: Cell) -> Series:
        return epoch_series(self._epochs[cell].filter(pl.col("kind").is_in(TRIAL_KINDS)))

    def _tags(self, cell: Cell) -> dict[str, str]:
        tags = {PLAN_TAG: self._plan.id, CELL_TAG: str(cell), PARENT_TAG: self._parent}
        if cell.is_reference:
            tags["reference"] = "true"
        units = self._units[cell].sort("kind", "seed")
        tags |= facts.versions(units)
        unusable = self._judged[cell].filter(pl.col("reason").str.starts_with("trial ").not_()).sort("seed")
        lines = {
            "failed": facts.failures(units, self._failures[cell]),
            "diverged": _by_seed(units.filter(pl.col("status") == "diverged"), "unit"),
            "unusable": _by_seed(unusable, "reason"),
            "hyperparameters": [
                f"{name}, by seed: {', '.join(map(str, values))}"
                for name, values in facts.hyperparameters(units).items()
                if len(set(values)) > 1
            ],
        }
        return tags | {name: facts.few(found) for name, found in lines.items() if found}


def _asked(cell: Cell, unit: PlannedUnit, seeds: Sequence[int]) -> dict[str, str]:
    """Return what the plan says: the cell, its seeds, and the recipe of its originals and retrains."""
    names = {name: str(getattr(cell, name)) for name in KEY}
    recipe = {f"recipe.{name}": str(value) for name, value in unit.recipe.items()}
    return names | {"seeds": ", ".join(map(str, seeds))} | recipe


def _values(units: pl.DataFrame) -> dict[str, str]:
    """Return the hyperparameters on which all seeds agree, defaults included."""
    found = facts.hyperparameters(units).items()
    return {f"method.{name}": str(values[0]) for name, values in found if len(set(values)) == 1}


def _by_seed(rows: pl.DataFrame, column: str) -> list[str]:
    return [f"seed {seed}: {text}" for seed, text in rows.select("seed", column).iter_rows()]
