"""From MLflow to the tables and back: which plan and cell a run stands for, and which runs a plan has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.tracking.address import Address
from harness.tracking.content import CELL_TAG, PLAN_TAG
from harness.tracking.errors import NoSuchRun
from harness.tracking.quiet import open_client
from harness.tracking.view import run_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 100
FIND = "find it in `harness ui`; `harness sync STUDY` writes the runs of a study"

_BEGINNING = re.compile(r"[0-9a-f]{1,32}")


@dataclass(frozen=True)
class TrackedRun:
    """A run of MLflow. `cell` is the text of its cell (`str(Cell)`), empty for the run of the plan itself.

    `path` is where the run is in MLflow's web interface, behind the address of the server.
    """

    id: str
    name: str
    status: str
    path: str
    plan: str
    cell: str


def find_run(address: Address, beginning: str) -> TrackedRun:
    """Return the run whose id begins like this.

    Raises NoSuchRun if there is none, several, or one that is not a view of a plan; TrackingUnavailable if MLflow
    cannot be reached.
    """
    if not _BEGINNING.fullmatch(beginning):
        raise NoSuchRun(f"{beginning!r} is no id; ids of runs and of units are hexadecimal digits; {FIND}")
    found = _search(address, f"attributes.run_id LIKE '{beginning}%'")
    if len(found) != 1:
        many = f"{len(found)} runs in {address.shown} begin with {beginning!r}; give more digits"
        raise NoSuchRun(many if found else f"no run in {address.shown} begins with {beginning!r}; {FIND}")
    (run,) = found
    if not run.plan:
        raise NoSuchRun(f"run {run.id} ({run.name}) was not written by the harness")
    return run


def runs_of_plan(address: Address, plan: str) -> dict[str, TrackedRun]:
    """Return the runs of a plan by the text of their cell; its own run has the empty text."""
    return {run.cell: run for run in _search(address, f"tags.`{PLAN_TAG}` = '{plan}'")}


def _search(address: Address, condition: str) -> list[TrackedRun]:
    if address.file and not os.path.isfile(address.file):
        return []  # asking would make an empty database
    with open_client(address) as client:
        return [_tracked(run) for run in _pages(client, condition)]


def _pages(client: MlflowClient, condition: str) -> Iterator[Run]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_runs(experiments, condition, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _tracked(run: Run) -> TrackedRun:
    info, tags = run.info, run.data.tags
    path = run_path(info.experiment_id, info.run_id)
    return TrackedRun(info.run_id, info.run_name, info.status, path, tags.get(PLAN_TAG, ""), tags.get(CELL_TAG, ""))
