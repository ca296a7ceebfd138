"""What one MLflow run says: a value that is compared by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal

Status = Literal["FINISHED", "FAILED", "SCHEDULED"]

PLAN_TAG, CELL_TAG, DIGEST_TAG = "harness.plan", "harness.cell", "harness.digest"
TRIALS_TAG, VERSION_TAGS, COMMIT_TAG = "harness.trials", "version.", "mlflow.source.git.commit"
NOTE_TAG, PARENT_TAG = "mlflow.note.content", "mlflow.parentRunId"
LENGTH = 8000
"""Characters of a tag that every MLflow store takes."""


@dataclass(frozen=True, order=True)
class DataInput:
    """The data of a cell as MLflow shows it: `name (digest) context`.

    `name` is the data set, `context` the scenario, and `digest` that of the split which both determine. `source` is
    a JSON text that names the official files by their checksum.
    """

    name: str
    digest: str
    context: str
    source: str


@dataclass(frozen=True)
class Content:
    """All that is written about one run.

    `key` tells the runs of a plan apart and is empty for the parent. `started` and `ended` are in ms of Unix
    time. `series` are metrics with several points, by name and step.
    """

    key: str
    name: str
    status: Status
    started: int | None
    ended: int | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    series: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[DataInput, ...] = ()

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the sha256 of everything but the start, which MLflow cannot change."""
        content = asdict(self)
        del content["started"]
        text = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
