"""MLflow as a view of the tables: written idempotently, deleted and rebuilt at any time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from harness.errors import did_you_mean
from harness.store import Store
from harness.tracking.address import find_address
from harness.tracking.artifacts import files_digest, write_files
from harness.tracking.cells import CellRuns
from harness.tracking.database import only_writer
from harness.tracking.errors import LATER, NoSuchStudy, TrackingUnavailable
from harness.tracking.experiment import find_experiment, set_tags
from harness.tracking.parent import parent_content
from harness.tracking.plan import Planned, StoredPlan
from harness.tracking.quiet import open_client
from harness.tracking.results import Results, read_results
from harness.tracking.runs import Outcome, PlanRuns
from harness.tracking.view import view_path, view_tag, view_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SERVER_SECONDS, CELL_SECONDS = 30.0, 2.0


@dataclass(frozen=True)
class SyncReport:
    """What a sync has written: the numbers of runs, the parent among them, by what became of them.

    `path` is where the plan's ranking is in MLflow's web interface, behind the address of the server.
    """

    plan: str
    study: str
    uri: str
    path: str
    created: int
    updated: int
    unchanged: int


def sync(plan: Planned | Mapping[str, Any], store: Store, *, tracking_uri: str | None = None) -> SyncReport:
    """Make MLflow say what the tables say about a plan, and return what that took.

    The study is an experiment, the plan a run, and each cell (data set, scenario, architecture, method,
    config) of which something has been run is a child run. A run whose content is as it was is not touched,
    another one is changed in place. `plan` is a plan or its stored document.

    `tracking_uri` is by default $MLFLOW_TRACKING_URI, else a SQLite database in a local root.

    Raises TrackingUnavailable, after some seconds at most, if MLflow cannot be reached or written. Nothing is
    lost then: the next sync writes what is missing.
    """
    address = find_address(store.address, tracking_uri)
    stored = StoredPlan.of(plan)
    results = read_results(stored, store)
    page = store.read_report(stored.study) if results.is_reported else None
    with only_writer(address), open_client(address) as client:
        experiment = find_experiment(client, stored, address)
        outcomes = _write(client, experiment, stored, results, page)
    return SyncReport(
        plan=stored.id,
        study=stored.study,
        uri=address.shown,
        path=view_path(stored.id, experiment.experiment_id),
        created=outcomes["created"],
        updated=outcomes["updated"],
        unchanged=outcomes["unchanged"],
    )


def sync_in_time(plan: Planned, store: Store) -> SyncReport:
    """Do as `sync`, but give up a server that is too slow: a study has ended, and somebody waits for its screen.

    It gets 30 s and 2 s more for each cell, which is ten times what one needs. Raises TrackingUnavailable; what is
    written by then stays, and a thread goes on with the rest as long as this process lives.
    """
    if not find_address(store.address).is_server:
        return sync(plan, store)
    cells = len(StoredPlan.of(plan).cells)
    outcome: Future[SyncReport] = Future()

    def work() -> None:
        try:
            outcome.set_result(sync(plan, store))
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=work, name="mlflow", daemon=True).start()
    seconds = SERVER_SECONDS + CELL_SECONDS * cells
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        if outcome.done():
            raise
        shown = find_address(store.address).shown
        raise TrackingUnavailable(f"MLflow at {shown}: too slow, given up after {seconds:g} s; {LATER}") from error


def sync_stored(store: Store, study: str | None = None, *, tracking_uri: str | None = None) -> list[SyncReport]:
    """Sync every plan of a root, or those of one study, named by the study or by the plan's id.

    Raises NoSuchStudy if there is none.
    """
    documents = [store.read_plan(plan) for plan in store.plans()]
    found = [one for one in documents if study in (None, one["study"], one["id"])]
    if not found:
        known = did_you_mean(study, {str(one["study"]) for one in documents}) if study else ""
        raise NoSuchStudy(f"no study{f' {study!r}' if study else ''} in {store.address}{known or '; run one first'}")
    return [sync(one, store, tracking_uri=tracking_uri) for one in found]


def _write(
    client: MlflowClient, experiment: Experiment, plan: StoredPlan, results: Results, page: bytes | None
) -> Counter[Outcome]:
    runs = PlanRuns(client, experiment.experiment_id, plan.id)
    parent = parent_content(plan, results, files_digest(plan, results, page))
    run_id = runs.find_or_create(parent)
    metrics: set[str] = set()
    outcomes: Counter[Outcome] = Counter()
    for content in CellRuns(plan, results, run_id):
        outcomes[runs.put(content)] += 1
        metrics.update(content.metrics)
    set_tags(client, experiment, {view_tag(plan): view_text(plan, metrics, parent.started or 0)})
    if not runs.is_current(parent):
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), plan, results, page)
            client.log_artifacts(run_id, folder)
    outcomes[runs.put(parent)] += 1
    return outcomes
