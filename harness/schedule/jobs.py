"""The studies that were submitted to a cluster: where their results go, and how far they are by their own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.errors import HarnessError, did_you_mean
from harness.schedule import dashboard
from harness.schedule.cluster import NoRay
from harness.schedule.quiet import quiet

STUDY, ROOT = "harness.study", "harness.root"
"""What a job of the harness says of itself, as metadata."""

PROGRESS = re.compile(r"^(?:trials|farm|timing) \d+/\d+.*$", re.MULTILINE)


class NoSuchJob(HarnessError):
    """A study that no job of a cluster runs or ran."""


@dataclass(frozen=True)
class JobState:
    """A job: Ray's id of it and word for its state, the study and its root, and the last line of its progress."""

    job: str
    study: str
    root: str
    state: str
    started: datetime | None
    ended: datetime | None
    progress: str


def jobs(address: str, study: str | None = None) -> list[JobState]:
    """Return the jobs of the harness on the cluster whose dashboard is at `address`, the oldest first.

    Needs the root of none of them. Raises `NoRay`, and `NoSuchJob` for a study that none has.
    """
    with quiet(None):
        client = dashboard.connect(address.rstrip("/"))
        try:
            own = [one for one in client.list_jobs() if STUDY in (one.metadata or {})]
            found = [_state(client, one) for one in own if study in (None, one.metadata[STUDY])]
        except Exception as error:
            raise NoRay(f"{address} does not tell its jobs: {dashboard.reason(error)}") from error
    if study is not None and not found:
        known = {one.metadata[STUDY] for one in own}
        raise NoSuchJob(f"no job of study {study!r} at {address}{did_you_mean(study, known) if known else ''}")
    return sorted(found, key=lambda one: (one.started is None, one.started, one.job))


def _state(client: Any, one: Any) -> JobState:
    return JobState(
        job=one.submission_id,
        study=one.metadata[STUDY],
        root=one.metadata[ROOT],
        state=str(getattr(one.status, "value", one.status)),
        started=_time(one.start_time),
        ended=_time(one.end_time),
        progress=_progress(client.get_job_logs(one.submission_id)),
    )


def _progress(log: str) -> str:
    """Return the last line that tells how far a run is; one that has just begun has told none."""
    told = PROGRESS.findall(log)
    return str(told[-1]) if told else ""


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
