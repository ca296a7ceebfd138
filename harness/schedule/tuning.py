"""Ray Tune as the loop that keeps workers busy: what it is given to run, and what it tells of each end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import registry
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from harness.process.garbage import sought_in_what_comes
from harness.process.interrupt import Draining
from harness.schedule.backlog import Backlog, Stage, Suggestion
from harness.schedule.demand import Capacity, load
from harness.schedule.endings import End
from harness.schedule.environment import environment
from harness.schedule.performer import Job, configuration
from harness.schedule.scratch import discard, temporary_folder
from harness.schedule.worker import ENDING, UnitWorker

REMEMBERED = 500
"""Units that have ended of which Tune knows."""

ROOM_SECONDS = 5.0
"""How long the size of the cluster is taken for granted; nodes come and go."""

REGISTRY: Any = registry._global_registry

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files for each unit
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it ends the units that run
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class Feed(Searcher):
    """Suggests what the backlog has ready for one stage: as many units as run at once, and as many that wait.

    What waits starts at once when another ends, and tells an autoscaler to grow; units that are timed never wait.
    `live` are the suggestions that have not ended, by the id of their trial.
    """

    def __init__(
        self, backlog: Backlog, stage: Stage, nodes: Callable[[], Sequence[Capacity]], draining: Draining
    ) -> None:
        super().__init__()
        self.live: dict[str, Suggestion] = {}
        self._backlog, self._stage, self._draining = backlog, stage, draining
        self._ask, self._asked = nodes, float("-inf")
        self._nodes: Sequence[Capacity] = ()

    def suggest(self, trial_id: str) -> Any:
        """Return a unit to run; None where there is none yet; FINISHED where none will come."""
        if self._draining.begins_nothing:
            return Searcher.FINISHED
        taken = self._load()
        if taken >= (2 if self._stage == Stage.TOGETHER else 1):
            return None
        suggestion = self._backlog.take(self._stage, waits=taken >= 1)
        if suggestion is None:
            return None if self.live else Searcher.FINISHED
        self.live[trial_id] = suggestion
        return configuration(suggestion)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take over the limit from Tune, whose own cannot grow with the cluster."""
        return True

    def _load(self) -> float:
        """Return how often the cluster is taken by what is suggested; alone, one unit takes all of it."""
        if self._stage == Stage.ALONE or not self.live:
            return float(len(self.live))
        now = time.monotonic()
        if now - self._asked > ROOM_SECONDS:
            self._nodes, self._asked = self._ask(), now
        return load((suggestion.demand for suggestion in self.live.values()), self._nodes)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The listener takes note: it sees more of it."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: committed units are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Keep nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its configuration into its scratch; this would be the whole plan


class InOrder(FIFOScheduler):
    """First in, first out; the stock scheduler looks at every unit at every step, to no end.

    It has Tune forget units that have ended. To restore an experiment, which nobody does, Tune would keep 50 kB of
    each, and write them down and look for their files at the end.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Choose none: Tune starts what is pending in any case."""
        _forget_most_of_what_ended(tune_controller._tune_controller)
        return None


def _forget_most_of_what_ended(tune: Any) -> None:
    if len(tune._stopped_trials) + len(tune._failed_trials) < 2 * REMEMBERED:
        return
    ended = [trial for trial in tune.get_trials() if trial.is_finished()]
    forgotten = set(ended[:-REMEMBERED])
    tune.get_trials()[:] = [trial for trial in tune.get_trials() if trial not in forgotten]
    for kept in (tune._stopped_trials, tune._failed_trials, tune._trials_to_cache):
        kept -= forgotten


class Listener(tune.Callback):
    """Tells of each end, and of each step of Tune's loop, where what is raised ends the loop."""

    def __init__(self, settle: Callable[[End], None], heartbeat: Callable[[], None], job: Job) -> None:
        self._settle, self._heartbeat, self._job = settle, heartbeat, job
        self._begun: dict[str, datetime] = {}
        self._running: dict[str, Trial] = {}
        self._ended: list[Trial] = []
        self.folder: str | None = None
        """Where Tune keeps errors, and a folder for each unit, in the session's folder on this node."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note when."""
        self._begun[trial.trial_id] = datetime.now(UTC)
        self._running[trial.trial_id] = trial

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note it: what is raised here would pass for a failure of the trial."""
        self._ended.append(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note it."""
        self._ended.append(trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tell."""
        while self._ended:
            trial = self._ended.pop()
            self.folder = str(Path(str(trial.local_path)).parents[1])
            self._settle(self._end(trial))
        self._end_late_ones()
        self._heartbeat()

    def _end_late_ones(self) -> None:
        """Kill the workers that should have ended."""
        for trial, begun in self._begun.items():
            late = self._job.is_late(begun)
            if late and (worker := self._running.pop(trial, None)) and (actor := worker.temporary_state.ray_actor):
                ray.kill(actor)

    def _end(self, trial: Trial) -> End:
        busy = len(self._begun)
        self._running.pop(trial.trial_id, None)
        begun = self._begun.pop(trial.trial_id, datetime.now(UTC))
        if trial.status != Trial.ERROR:
            return End(trial.trial_id, trial.last_result[ENDING][0], "", begun, busy)
        error = Path(trial.error_file).read_text(errors="replace") if trial.error_file else ""
        return End(trial.trial_id, None, error, begun, busy)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class NoProgress(TrialProgressCallback):
    """In place of Tune's own, which has nothing to print, and notes of every unit when it last did."""

    def on_trial_result(self, *told: Any, **info: Any) -> None: ...
    def on_trial_complete(self, *told: Any, **info: Any) -> None: ...
    def on_trial_error(self, *told: Any, **info: Any) -> None: ...


@contextmanager
def _class_at_hand() -> Iterator[None]:
    """Let Tune remember the class of its workers, for which it asks the cluster three times a unit: 2 ms."""
    known: dict[tuple[str, str], Any] = {}
    ask, has = REGISTRY.get, REGISTRY.contains

    def get(category: str, key: str) -> Any:
        if (category, key) not in known:
            known[category, key] = ask(category, key)
        return known[category, key]

    REGISTRY.get, REGISTRY.contains = get, lambda category, key: (category, key) in known or has(category, key)
    try:
        yield
    finally:
        del REGISTRY.get, REGISTRY.contains


def fit(feed: Feed, listener: Listener, job: Job) -> None:
    """Run what the feed suggests until it has no more; the listener hears of each end.

    What the listener raises comes out, once the workers are stopped.
    """
    with environment(**SETTINGS), _class_at_hand(), sought_in_what_comes(), temporary_folder("harness-") as scratch:
        tuner = tune.Tuner(
            tune.with_parameters(UnitWorker, job=job),
            tune_config=tune.TuneConfig(
                search_alg=feed,
                scheduler=InOrder(),  # type: ignore[no-untyped-call]
                num_samples=-1,  # without end
                reuse_actors=True,
                max_concurrent_trials=sys.maxsize,  # unset: one at a time; the feed has the limit
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"harness-{job.token}",
                storage_path=scratch,
                verbose=0,
                callbacks=[listener, NoProgress()],
                failure_config=tune.FailureConfig(max_failures=0),  # else again with the same resources
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        finally:
            if listener.folder is not None:
                discard(listener.folder)
