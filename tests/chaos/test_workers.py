"""Workers die in the middle of units: each unit is begun again, at most three times in all, and none is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from tiny_chaos import Chaos, repeated, session

from harness.store import Store

TRIAL, SHADOW = "ray::_Inner.train", "ray::Performer.perform"
"""What Ray calls a process in the middle of a unit."""


def harass(study: Chaos, process: subprocess.Popen[str], title: str, times: int) -> None:
    """Kill one of the workers that are in the middle of a unit, some time after it was seen there; so many times."""
    chance = random.Random(0)
    for _ in range(times):
        seen: list[int] = []

        def busy(seen: list[int] = seen) -> bool:
            seen[:] = [pid for pid, what in session(process).items() if what.startswith(title)]
            return bool(seen)

        study.wait_until(busy, process)
        victim = chance.choice(seen)
        time.sleep(chance.uniform(0, 0.2))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            study.injected()
        study.wait_until(lambda victim=victim: victim not in session(process), process)


def judge(study: Chaos, process: subprocess.Popen[str]) -> None:
    """The study comes to its end; what a kill ended is told with its cause, and what three of them ended has failed."""
    out, err = process.communicate()
    failures = Store.open(str(study.root)).scan("failures").collect()
    left = study.plan.units.keys() - study.begun().keys()
    assert process.returncode == (1 if left else 0), err
    assert "Traceback" not in out + err
    assert 0 < len(failures) <= study.row.injected
    assert set(failures["exception"]) == {"WorkerDied"}
    assert set(failures["phase"]) == {"worker"}
    study.note()
    study.settle()


@pytest.mark.ray
@repeated(short=0, full=10)
def test_workers_of_trials_are_killed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of workers of Tune."""
    study = chaos(("--workers=2",), seeds=4)
    process = study.start()
    harass(study, process, TRIAL, times)
    judge(study, process)


@pytest.mark.ray
@repeated(short=0, full=10)
def test_actors_of_the_farm_are_killed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of actors of the farm."""
    farm = {"shadows": 8, "pools": {"canary": {"size": 40, "labels": "random"}}}
    study = chaos(("--workers=2",), seeds=1, methods=["finetune", "ct"], farm=farm, measures=["accuracy", "ulira"])
    process = study.start()
    harass(study, process, SHADOW, times)
    judge(study, process)
