"""The driver: plan minus committed units, run what is left, fold, and bring the views up to date."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.contracts.catalog import DATASETS
from harness.errors import HarnessError, did_you_mean
from harness.planner import Plan, make_plan, with_needs
from harness.store import Lease, Store
from harness.study import Study, load_study
from harness.unit import Unit, keeps_model
from harness.work import Workbench
from harness.work.unit import Status

FOLD_UNITS, FOLD_SECONDS = 500, 30.0


class Progress(Protocol):
    """Who is told how a run goes; `harness.cli.progress` draws it."""

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        """The plan is known, what of it is to run now, and how many of its units were found finished."""

    def ended(self, unit: Unit, status: Status, seconds: float) -> None:
        """A unit has ended."""

    def finish(self) -> None:
        """Nothing more will be told."""


class Silent:
    """Tell nobody."""

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None: ...
    def ended(self, unit: Unit, status: Status, seconds: float) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class Summary:
    """How a run ended: units by status in this run, units found finished, units not tried, seconds of wall time."""

    plan: Plan
    ran: Mapping[Status, int]
    cached: int
    not_tried: int
    failed: tuple[Unit, ...]
    seconds: float
    views: Mapping[str, Path] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every unit of the plan has a result."""
        return not self.failed and not self.not_tried


class NothingMatches(HarnessError):
    """No unit of the plan is one that was asked for."""


@dataclass(frozen=True)
class Selection:
    """Which units of a plan to run: columns that must match, and at most `limit` of them (0: all)."""

    where: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0

    def choose(self, plan: Plan, remaining: Sequence[Unit]) -> list[Unit]:
        """Return the chosen units that remain, and those that they need.

        Raises `NothingMatches` where the plan has no such unit at all, run or not.
        """
        if not any(map(self._matches, plan.units.values())):
            raise NothingMatches(self._nothing(plan))
        chosen = list(filter(self._matches, remaining))
        chosen = chosen[: self.limit] if self.limit else chosen
        wanted = {unit.id for unit in with_needs(plan, chosen)}
        return [unit for unit in remaining if unit.id in wanted]

    def _matches(self, unit: Unit) -> bool:
        return all(str(unit.columns()[column]) == value for column, value in self.where.items())

    def _nothing(self, plan: Plan) -> str:
        """Say which value no unit has; where each is there for itself, that they do not go together."""
        for column, value in self.where.items():
            there = {str(unit.columns()[column]) for unit in plan.units.values()}
            if value not in there:
                return f"no unit of {plan.id} has {column}={value}{did_you_mean(value, there)}"
        together = " and ".join(f"{column}={value}" for column, value in self.where.items())
        return f"no unit of {plan.id} has {together} at once"


def run(
    study: Study | str | Path,
    root: str | None = None,
    *,
    device: str = "auto",
    data: str | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
    views: Callable[[Plan, Store], Mapping[str, Path]] | None = None,
) -> Summary:
    """Run what is left of a study and bring tables, ranking and report up to date.

    Args:
        study: a study, the path of its file, or the name of a suite.
        root: where commits, tables and models live; None is $HARNESS_ROOT or `runs`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        data: the folder with the official files of the data sets; None is $HARNESS_DATA or `data`.
        selection: which units to run; None is all.
        progress: who is told how it goes.
        views: what to rebuild from the tables at the end; None is ranking and report.

    Raises:
        HarnessError: the question or the environment is wrong; nothing was written.
        KeyboardInterrupt: after a Ctrl-C; everything finished is kept.
    """
    from harness.engine.device import pick_device
    from harness.views import keep_pools, rebuild
    from harness.work import official

    begun = time.perf_counter()
    plan = make_plan(load_study(study) if isinstance(study, str | Path) else study)
    where = pick_device(device)
    specs = {unit.dataset.name: DATASETS[unit.dataset.name] for unit in plan.units.values()}
    store = Store.open(root)
    to_run = _to_run(plan, store, selection)
    if to_run:
        official.check(specs.values(), data)
    store = Store.open(root, write=True)
    store.write_plan(plan.id, plan.to_json())
    with store.lease(plan.id) as lease:
        store.fold(plan.units)
        to_run = _to_run(plan, store, selection)
        bench = Workbench(store, where, lambda spec: official.read(spec, data))
        ledger = _Ledger(plan, store, lease, progress or Silent())
        if to_run and plan.study.farm is not None:
            keep_pools(plan, store, bench)
        ledger.run(to_run, bench)
        written = (views or rebuild)(plan, store)
    return ledger.summary(to_run, time.perf_counter() - begun, written)


def _to_run(plan: Plan, store: Store, selection: Selection | None) -> list[Unit]:
    models = {unit.id for unit in plan.units.values() if not unit.needs and store.has_model(unit.id)}
    remaining = plan.remaining(store.committed(), models)
    return (selection or Selection()).choose(plan, remaining)


class _Ledger:
    """What has ended in this run; folds commits into tables as they come."""

    def __init__(self, plan: Plan, store: Store, lease: Lease, progress: Progress) -> None:
        self.plan, self.store, self.lease, self.progress = plan, store, lease, progress
        self.cached = len(plan.units.keys() & store.committed())
        self.ran: Counter[Status] = Counter()
        self.failed: list[Unit] = []
        self._unfolded = 0
        self._folded_at = self._ended_at = time.monotonic()

    def run(self, units: Sequence[Unit], bench: Workbench) -> None:
        """Run the units and fold what they leave, also when interrupted."""
        from harness.local import run_units

        self.progress.begin(self.plan, units, self.cached)
        self._ended_at = time.monotonic()
        try:
            run_units(
                units,
                bench,
                self.store.attempts(),
                time_limit=self.plan.study.time_limit,
                keep_models=self.plan.study.keep_models,
                report=self.note,
            )
        finally:
            self.progress.finish()
            self.store.fold(self.plan.units)
            self._drop_models()

    def note(self, unit: Unit, status: Status) -> None:
        """Count a unit that ended; fold every 500 units or 30 seconds."""
        now = time.monotonic()
        self.progress.ended(unit, status, now - self._ended_at)
        self._ended_at = now
        self.ran[status] += 1
        if status == "failed":
            self.failed.append(unit)
        self._unfolded += 1
        self.lease.beat()
        if self._unfolded >= FOLD_UNITS or now - self._folded_at >= FOLD_SECONDS:
            self.store.fold(self.plan.units)
            self._unfolded, self._folded_at = 0, now

    def _drop_models(self) -> None:
        """Weights that the study does not keep go as soon as no unit of the plan needs them any more."""
        still = {need for unit in self.plan.remaining(self.store.committed(), ()) for need in unit.needs}
        for unit in self.plan.units.values():
            if unit.kind.from_scratch and unit.id not in still and not keeps_model(unit, self.plan.study.keep_models):
                self.store.drop_model(unit.id)

    def summary(self, units: Sequence[Unit], seconds: float, views: Mapping[str, Path]) -> Summary:
        """Return how the run ended."""
        ended = sum(self.ran.values())
        not_tried = len(units) - ended
        return Summary(self.plan, dict(self.ran), self.cached, not_tried, tuple(self.failed), seconds, views)
