"""The driver: plan minus committed units, run what is left, and bring the views up to date."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from harness import local
from harness.contracts.dataset import DATASETS, DatasetSpec
from harness.engine.device import pick_device
from harness.errors import first_of
from harness.ledger import Ledger, Progress, Silent, Summary
from harness.planner import Plan, make_plan
from harness.pricing.budget import HOUR, Budget
from harness.process.interrupt import terminations_stop
from harness.process.last_resort import last_duty
from harness.process.watch import watch
from harness.schedule import Cluster, Session, WorkerInfo, connect, probe_root, run_units
from harness.search.searches import Searches
from harness.selection import Selection
from harness.store import Store
from harness.study import Study, load_study
from harness.unit import Unit
from harness.views import Written, has_pools, keep_pools, rebuild
from harness.work import Workbench, official
from harness.work.unit import Status

Views = Callable[[Plan, Store], Written | None]


@dataclass(frozen=True)
class Where:
    """Where units run and their data are: `cluster` None is this one process, without Ray.

    `device` is `auto`, `cpu`, `cuda` or `cuda:1`; `data` the folder with the official files (None: $HARNESS_DATA or
    `data`); `plugins` modules with more tasks, imported by every worker.
    """

    cluster: Cluster | None = None
    device: str = "auto"
    data: str | None = None
    plugins: tuple[str, ...] = ()


def run(
    study: Study | str | Path,
    root: str | None = None,
    *,
    where: Where = Where(),
    selection: Selection = Selection(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    views: Views = rebuild,
    max_device_hours: float = float("inf"),
) -> Summary:
    """Run what is left of a study and bring tables, ranking and report up to date.

    Args:
        study: a study, the path of its file, or the name of a suite.
        root: where commits, tables and models live; None is $HARNESS_ROOT or `runs`.
        where: this process, this machine through Ray, or a cluster.
        selection: which units to run; by default all that are left.
        progress: who is told how it goes.
        views: what to rebuild from the tables at the end.
        max_device_hours: no unit begins once the units of this run have used so many hours of a device (on a CPU: of a
            worker); what has begun is finished.

    Raises:
        HarnessError: the question or the environment is wrong; nothing was written.
        KeyboardInterrupt: after a Ctrl-C, SIGTERM or SIGHUP; everything finished is kept.
    """
    begun = time.perf_counter()
    plan = make_plan(load_study(study) if isinstance(study, str | Path) else study)
    device = pick_device(where.device if where.cluster is None else "cpu")
    official.check(_datasets(_left(plan, Store.open(root), selection)), where.data)
    store = Store.open(root, write=True)
    with terminations_stop(), store.lease(plan.id) as lease, last_duty(lease.release):
        store = store.guarded(lease)
        repaired = _tell(store.repair())
        store.fold(plan.units)
        to_run = watch().chosen(_startable(plan, store, selection), lambda unit: unit.id)
        if repaired:
            official.check(_datasets(to_run), where.data)
        with _workers(where, store, bool(to_run)) as session:
            store.write_plan(plan.id, plan.to_json())
            ledger = Ledger(plan, store, lease, progress or Silent())
            budget = Budget(max_device_hours, _used_before(store))
            read = partial(official.read, data=where.data)
            bench = Workbench(store, device, read, deterministic=plan.study.deterministic)
            if plan.study.farm is not None and (to_run or not has_pools(plan, store)):
                keep_pools(plan, store, bench)
            if to_run:
                with ledger.running(to_run):
                    if session is None:
                        _run_here(to_run, ledger, bench, budget)
                    else:
                        _run_on_ray(to_run, ledger, where, session, budget)
            else:
                ledger.drop_models()  # a driver that was killed at its end has left some
            lease.beat()
            written = views(plan, store)
    return ledger.summary(to_run, time.perf_counter() - begun, written, budget)


def _left(plan: Plan, store: Store, selection: Selection) -> list[Unit]:
    return selection.choose(plan, plan.remaining(store.committed(), store.models()))


def _startable(plan: Plan, store: Store, selection: Selection) -> list[Unit]:
    """Return what is left to run, with what made the weights that it needs and that are damaged.

    They are read here once, before anything is run on them: a few seconds for a hundred, against units that fail.
    """
    checked: set[str] = set()
    while True:
        left = _left(plan, store, selection)
        needed = {need for unit in left for need in unit.comes_after} - {unit.id for unit in left} - checked
        if not _tell(store.repair_models(sorted(needed))):
            return left
        checked |= needed


def _tell(repaired: Sequence[str]) -> bool:
    """Say what was damaged, if anything was."""
    if repaired:
        for line in (*first_of(repaired), "what only they told is made again; all the rest is kept"):
            warnings.warn(line, stacklevel=3)
    return bool(repaired)


def _datasets(units: Sequence[Unit]) -> list[DatasetSpec]:
    return [DATASETS[name] for name in sorted({unit.dataset.name for unit in units})]


@contextmanager
def _workers(where: Where, store: Store, needed: bool) -> Iterator[Session | None]:
    """Reach Ray if anything is to run on it, and make sure that every node of a cluster reaches the root."""
    if where.cluster is None or not needed:
        yield None
        return
    with connect(where.cluster, store.log_path("ray")) as session:
        if where.cluster.address is not None:
            probe_root(session, store.uri)
        yield session


def _used_before(store: Store) -> float:
    """Return the device-hours of what the drivers of this run before this one have finished; what failed there is
    counted again."""
    chosen = watch().known.chosen
    if not chosen:
        return 0.0  # the first driver, which need not look
    units = store.scan("units").filter(pl.col("unit").is_in(chosen) & (pl.col("status") != "failed"))
    return float(units.select((pl.col("seconds") * pl.col("share")).sum()).collect().item()) / HOUR


def _run_here(units: Sequence[Unit], ledger: Ledger, bench: Workbench, budget: Budget) -> None:
    study = ledger.plan.study
    searches = Searches(ledger.plan.units.values(), ledger.store)

    def report(unit: Unit, status: Status, seconds: float) -> None:
        searches.note(unit, done=status != "failed")
        ledger.note(unit, status, seconds, busy=1)

    local.run_units(
        units,
        bench,
        ledger.store.last_attempts(),
        time_limit=study.time_limit,
        keep_models=study.keep_models,
        resolve=searches.resolve,
        report=report,
        budget=budget,
        shadows_per_worker=study.farm.shadows_per_worker if study.farm else 1,
    )
    ledger.note_warmth(bench.reused, bench.loaded)


def _run_on_ray(units: Sequence[Unit], ledger: Ledger, where: Where, session: Session, budget: Budget) -> None:
    study = ledger.plan.study
    searches = Searches(ledger.plan.units.values(), ledger.store)

    def report(unit: Unit, status: Status, worker: WorkerInfo) -> None:
        searches.note(unit, done=status != "failed")
        ledger.note(unit, status, worker.seconds, worker.busy)
        ledger.note_warmth(worker.reused, worker.loaded)

    run_units(
        units,
        root=ledger.store.uri,
        session=session,
        attempts=ledger.store.last_attempts(),
        report=report,
        plugins=where.plugins,
        data=where.data,
        device=where.device,
        time_limit=study.time_limit,
        deterministic=study.deterministic,
        keep_models=study.keep_models,
        resources=study.resources,
        heartbeat=ledger.beat,
        resolve=searches.resolve,
        budget=budget,
        shadows_per_worker=study.farm.shadows_per_worker if study.farm else 1,
    )
