"""The driver of a study dies: what is finished stays, and the rest runs once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_chaos import Chaos, Moment, changed, folding, reached, repeated, session

AUDITED: dict[str, Any] = {
    "farm": {"shadows": 2, "pools": {"canary": {"size": 40, "labels": "random"}}},
    "measures": ["accuracy", "population_mia", "ulira"],
}
VIEWS = ("attacks", "rankings", "definitions")
GONE_SECONDS = 180.0
"""After which nothing is left of a Ray whose driver was killed; its agents look for their head for a minute."""


@repeated(short=2, full=20)
def test_the_driver_is_killed_at_random_moments(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of the driver, in one process.

    After so many units; then in the middle of a fold; then while each of the views is written.
    """
    late: list[Callable[[Chaos], Moment]] = [folding, *(partial(changed, table=view) for view in VIEWS)]
    few = times < len(late)
    study, late = (chaos(), late[:1]) if few else (chaos(**AUDITED), late)
    moments = random.Random(0)
    counts = sorted(moments.choices(range(len(study.plan.units)), k=times - len(late)))
    for moment in [*(partial(reached, count=count) for count in counts), *late]:
        begun = moment(study)
        process = study.start()
        study.wait_until(begun, process)
        study.kill(process)
        study.injected()
        study.note()
    study.settle()
    assert study.row.failed == 0


def wait_until_gone(process: subprocess.Popen[str]) -> None:
    """Nothing that a dead driver has started may stay."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := session(process):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


@pytest.mark.ray
@repeated(short=0, full=4)
def test_the_driver_is_killed_with_its_own_ray(times: int, chaos: Callable[..., Chaos], temporary: Path) -> None:
    """SIGKILL of the driver, with its own Ray.

    The first time while Ray starts. The next driver begins at once, beside what is left of Ray's processes.
    """
    study = chaos(("--workers=2",), environment={"TMPDIR": str(temporary)}, **AUDITED)
    moments = random.Random(0)
    killed = []
    for count in [0, *sorted(moments.choices(range(1, len(study.plan.units)), k=times - 1))]:
        moment = reached(study, count)
        process = study.start()
        study.wait_until(moment, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed.append(process)
        study.injected()
        study.note()
    study.settle()
    for process in killed:
        wait_until_gone(process)
        process.communicate()
    left = [path.name for path in temporary.iterdir() if path.name.startswith(("ray-", "harness-"))]
    assert all(name.endswith(".trace") for name in left), left
