"""The driver of a study dies: what is finished stays, and the rest runs once."""

from __future__ import annotations

import random
from collections.abc import Callable

from tiny_chaos import Chaos, repeated


@repeated(short=2, full=20)
def test_the_driver_is_killed_at_random_moments(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of the driver, in one process."""
    study = chaos()
    moments = random.Random(0)
    for count in sorted(moments.choices(range(len(study.plan.units)), k=times)):
        process = study.start()
        study.wait_for(count, process)
        study.kill(process)
        study.injected()
        study.note()
    study.settle()
