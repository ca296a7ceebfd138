"""Writing contents into MLflow runs: what is there is not touched, what has changed is changed in place."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from harness.tracking.content import CELL_TAG, COMMIT_TAG, DIGEST_TAG, PARENT_TAG, PLAN_TAG, VERSION_TAGS, Content
from harness.tracking.names import EPOCHS, SEEDS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

Outcome = Literal["created", "updated", "unchanged"]
Point = tuple[str, int, float]
"""Name, step, value."""

PAGE = 100  # runs come with all their metrics: 0.5 s for so many
BATCH = 800  # metrics; MLflow takes 1000 entries at once, of which at most 100 tags and 100 parameters
IDENTIFYING = (PLAN_TAG, CELL_TAG, PARENT_TAG)
VANISHING = ("failed", "diverged", "unusable", "hyperparameters", "reference", COMMIT_TAG)
"""Tags that a later state of the tables may not have any more."""

LAYOUT_TAG, LAYOUT = "harness.layout", "2"
"""Raised when metrics get other names: MLflow forgets none, so runs that have the old ones give way."""


class PlanRuns:
    """The runs of one plan in an experiment: found by their tags, at most one for each content."""

    def __init__(self, client: MlflowClient, experiment: str, plan: str) -> None:
        self._client, self._experiment = client, experiment
        self._runs: dict[str, Run] = {}
        self._created: set[str] = set()
        for run in self._search(plan):
            # A request that was repeated after a timeout, or two hosts at once, may have made a second one.
            if self._runs.setdefault(run.data.tags.get(CELL_TAG, ""), run) is not run:
                client.delete_run(run.info.run_id)

    def is_current(self, content: Content) -> bool:
        """Whether the run of a content says just that."""
        run = self._runs.get(content.key)
        return run is not None and run.data.tags.get(DIGEST_TAG) == content.digest

    def find_or_create(self, content: Content) -> str:
        """Return the id of the run of a content; a new one is empty."""
        run = self._runs.get(content.key)
        if run is not None and (_is_outdated(run) or _contradicts(run.data.params, content.params)):
            # Parameters cannot be changed, so the run that has other ones gives way.
            self._client.delete_run(run.info.run_id)
            run = None
        if run is None:
            run = self._runs[content.key] = self._create(content)
            self._created.add(content.key)
        return str(run.info.run_id)

    def put(self, content: Content) -> Outcome:
        """Make the run of a content say just that. The digest comes last: an interrupted call is repeated."""
        if self.is_current(content):
            return "unchanged"
        run_id = self.find_or_create(content)
        run = self._runs[content.key]
        for name in run.data.tags:
            if name not in content.tags and (name in VANISHING or name.startswith(VERSION_TAGS)):
                self._client.delete_tag(run_id, name)
        self._set_status(run_id, content)
        self._log(run_id, content, _entities(self._changes(run, content)))
        return "created" if content.key in self._created else "updated"

    def _search(self, plan: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{PLAN_TAG}` = '{plan}'",
                max_results=PAGE,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _create(self, content: Content) -> Run:
        tags = {name: value for name, value in content.tags.items() if name in IDENTIFYING}
        tags |= {LAYOUT_TAG: LAYOUT, "mlflow.source.name": "harness", "mlflow.source.type": "LOCAL"}
        run = self._client.create_run(self._experiment, content.started, tags, content.name)
        self._client.log_inputs(run.info.run_id, datasets=list(_inputs(content)))
        return run

    def _set_status(self, run_id: str, content: Content) -> None:
        if content.status == "SCHEDULED":
            self._client.update_run(run_id, content.status)
        else:
            self._client.set_terminated(run_id, content.status, content.ended)

    def _changes(self, run: Run, content: Content) -> list[Point]:
        """Return the points that the run lacks. MLflow forgets none: one that is gone gets NaN."""
        known, wanted = self._points(run), _points(content)
        gone = {at: math.nan for at, value in known.items() if at not in wanted and not math.isnan(value)}
        changed = {at: value for at, value in wanted.items() if known.get(at) != value}
        return [(*at, value) for at, value in (gone | changed).items()]

    def _points(self, run: Run) -> dict[tuple[str, int], float]:
        """Return the newest value of every metric and step of a run."""
        points: dict[tuple[str, int], float] = {}
        for name, latest in run.data.metrics.items():
            if not name.startswith((f"{SEEDS}/", f"{EPOCHS}/")):
                points[name, 0] = latest
                continue
            history = self._client.get_metric_history(run.info.run_id, name)
            for point in sorted(history, key=lambda point: point.timestamp):
                points[name, point.step] = point.value
        return points

    def _log(self, run_id: str, content: Content, metrics: Sequence[Metric]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, value) for name, value in content.params.items()]
        tags = [RunTag(name, value) for name, value in (*content.tags.items(), (DIGEST_TAG, content.digest))]
        *batches, last = _batched(metrics)
        for batch in batches:
            self._client.log_batch(run_id, metrics=batch)
        self._client.log_batch(run_id, last, params, tags)


def _batched(metrics: Sequence[Metric]) -> list[Sequence[Metric]]:
    """Return the metrics in batches, at least one."""
    return [metrics[start : start + BATCH] for start in range(0, max(1, len(metrics)), BATCH)]


def _is_outdated(run: Run) -> bool:
    return run.data.tags.get(LAYOUT_TAG) != LAYOUT


def _contradicts(known: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return any(known.get(name, value) != value for name, value in wanted.items())


def _points(content: Content) -> dict[tuple[str, int], float]:
    single = {(name, 0): value for name, value in content.metrics.items()}
    return single | {(name, step): value for name, line in content.series.items() for step, value in line.items()}


def _entities(points: Sequence[Point]) -> list[Metric]:
    from mlflow.entities import Metric

    # The newest of several values of one step is the one that counts.
    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, step, value in points]


def _inputs(content: Content) -> Iterator[DatasetInput]:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    for data in content.datasets:
        dataset = Dataset(data.name, data.digest, "official files", data.source)
        yield DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, data.context)])
