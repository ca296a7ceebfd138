"""The least that a unit costs in Ray Tune: `python tests/bench/least.py UNITS` prints the milliseconds of each.

The settings are those of `harness.schedule.tuning`; the searcher counts, the trainable returns at once. Counted is from
the end of the hundredth unit, when all workers have started.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from harness.schedule.environment import environment
from harness.schedule.tuning import SETTINGS, InOrder

CORES, WAITING, STARTED = 0.5, 8, 100


class Count(Searcher):
    """Suggests so many units, some of which wait."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.left, self.live = units, 0
        self.ends: list[float] = []

    def suggest(self, trial_id: str) -> Any:
        if not self.left:
            return Searcher.FINISHED
        if self.live == WAITING:
            return None
        self.left, self.live = self.left - 1, self.live + 1
        return {"unit": self.left}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.live -= 1
        self.ends.append(time.perf_counter())

    def save(self, checkpoint_path: str) -> None: ...

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None: ...


class Nothing(tune.Trainable):
    """Does nothing once."""

    def setup(self, config: dict[str, Any]) -> None: ...

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"done": True}


def main() -> int:
    count = Count(units := int(sys.argv[1]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with environment(**SETTINGS), tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(Nothing, {"cpu": CORES}),
            tune_config=tune.TuneConfig(
                search_alg=count,
                scheduler=InOrder(),  # type: ignore[no-untyped-call]
                num_samples=units,
                reuse_actors=True,
                max_concurrent_trials=units,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="least",
                storage_path=scratch,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    ray.shutdown()
    print(1000 * (count.ends[-1] - count.ends[STARTED]) / (units - STARTED - 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
