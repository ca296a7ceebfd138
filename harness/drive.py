"""The driver: plan minus committed units, run what is left, and bring the views up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import local
from harness.contracts.dataset import DATASETS
from harness.engine.device import pick_device
from harness.ledger import Ledger, Progress, Silent, Summary
from harness.planner import Plan, make_plan
from harness.schedule import Cluster, Session, WorkerInfo, connect, probe_root, run_units
from harness.search.searches import Searches
from harness.selection import Selection
from harness.store import Store
from harness.study import Study, load_study
from harness.unit import Unit
from harness.views import Written, keep_pools, rebuild
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
) -> Summary:
    """Run what is left of a study and bring tables, ranking and report up to date.

    Args:
        study: a study, the path of its file, or the name of a suite.
        root: where commits, tables and models live; None is $HARNESS_ROOT or `runs`.
        where: this process, this machine through Ray, or a cluster.
        selection: which units to run; by default all that are left.
        progress: who is told how it goes.
        views: what to rebuild from the tables at the end.

    Raises:
        HarnessError: the question or the environment is wrong; nothing was written.
        KeyboardInterrupt: after a Ctrl-C; everything finished is kept.
    """
    begun = time.perf_counter()
    plan = make_plan(load_study(study) if isinstance(study, str | Path) else study)
    device = pick_device(where.device if where.cluster is None else "cpu")
    to_run = _left(plan, Store.open(root), selection)
    if to_run:
        official.check([DATASETS[name] for name in sorted({unit.dataset.name for unit in to_run})], where.data)
    store = Store.open(root, write=True)
    with _workers(where, store, bool(to_run)) as session, store.lease(plan.id) as lease:
        store.write_plan(plan.id, plan.to_json())
        store.fold(plan.units)
        to_run = _left(plan, store, selection)
        ledger = Ledger(plan, store, lease, progress or Silent())
        if to_run:
            bench = Workbench(store, device, lambda spec: official.read(spec, where.data))
            if plan.study.farm is not None:
                keep_pools(plan, store, bench)
            with ledger.running(to_run):
                if session is None:
                    _run_here(to_run, ledger, bench)
                else:
                    _run_on_ray(to_run, ledger, where, session)
        written = views(plan, store)
    return ledger.summary(to_run, time.perf_counter() - begun, written)


def _left(plan: Plan, store: Store, selection: Selection) -> list[Unit]:
    models = {unit.id for unit in plan.units.values() if unit.is_start and store.has_model(unit.id)}
    return selection.choose(plan, plan.remaining(store.committed(), models))


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


def _run_here(units: Sequence[Unit], ledger: Ledger, bench: Workbench) -> None:
    searches = Searches(ledger.plan.units.values(), ledger.store)

    def report(unit: Unit, status: Status, seconds: float) -> None:
        searches.note(unit, done=status != "failed")
        ledger.note(unit, status, seconds, busy=1)

    local.run_units(
        units,
        bench,
        ledger.store.attempts(),
        time_limit=ledger.plan.study.time_limit,
        keep_models=ledger.plan.study.keep_models,
        resolve=searches.resolve,
        report=report,
    )


def _run_on_ray(units: Sequence[Unit], ledger: Ledger, where: Where, session: Session) -> None:
    study = ledger.plan.study
    searches = Searches(ledger.plan.units.values(), ledger.store)

    def report(unit: Unit, status: Status, worker: WorkerInfo) -> None:
        searches.note(unit, done=status != "failed")
        ledger.note(unit, status, worker.seconds, worker.busy)

    run_units(
        units,
        root=ledger.store.uri,
        session=session,
        attempts=ledger.store.attempts(),
        report=report,
        plugins=where.plugins,
        data=where.data,
        device=where.device,
        time_limit=study.time_limit,
        keep_models=study.keep_models,
        resources=study.resources,
        heartbeat=ledger.beat,
        resolve=searches.resolve,
    )
