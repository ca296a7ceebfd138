"""Why a worker died, and the rows that its unit leaves when nobody else can write them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.schedule.cluster import Node
    from harness.store import Store
    from harness.unit import Unit

PHASE = "worker"
"""The phase of a failure that the driver writes: it cannot know how far the unit was."""

TIME_LIMIT = "TimeLimit"
"""The exception of a unit that took too long; the same word as where units run in one process."""

READ_SECONDS = 10.0


class WorkerDied(HarnessError):
    """The process of a worker ended in the middle of a unit."""


@dataclass(frozen=True)
class Death:
    """A failed attempt that its worker could not commit: the error, and all that is known about its cause."""

    exception: str
    message: str
    cause: str

    @property
    def final(self) -> bool:
        """Whether another attempt would end the same way: a unit that hangs does so again."""
        return self.exception == TIME_LIMIT


def trace_path(token: str, unit: str, attempt: int) -> str:
    """Return where, on its node, the stack of an attempt goes when its process is ended or crashes."""
    return os.path.join(tempfile.gettempdir(), f"harness-{token}-{unit}-{attempt}.trace")


def death(error: str, trace: str, time_limit: float) -> Death:
    """Return why a worker died, from Ray's error and from the stack that it left, if any."""
    if trace.startswith("Timeout"):  # the first word of what faulthandler writes when the time is over
        return Death(TIME_LIMIT, f"the unit took more than its limit of {time_limit:g} s", trace)
    message = "the worker's process died" + (" of a crash" if trace else "")
    return Death(WorkerDied.__name__, f"{message}; the traceback says what is known", f"{trace}{error}")


def collect_trace(nodes: Iterable[Node], token: str, unit: str, attempt: int) -> str:
    """Return the stack that an attempt left on one of the nodes, or nothing; the file is removed.

    All are asked, since nobody can say on which of them a process was that is dead.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    take = ray.remote(num_cpus=0, max_retries=0)(_take)
    asked = [
        take.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            token, unit, attempt
        )
        for node in nodes
    ]
    answers, silent = ray.wait(asked, num_returns=len(asked), timeout=READ_SECONDS)
    for request in silent:
        ray.cancel(request)
    traces = []
    for answer in answers:
        with contextlib.suppress(ray.exceptions.RayError):  # a node that died after its worker
            traces.append(ray.get(answer))
    return "".join(traces)


def _take(token: str, unit: str, attempt: int) -> str:
    path = trace_path(token, unit, attempt)
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def drop_traces(token: str) -> None:
    """Remove what units of a run left on this machine that were stopped, not done."""
    for path in Path(tempfile.gettempdir()).glob(f"harness-{token}-*.trace"):
        with contextlib.suppress(OSError):
            path.unlink()


def commit_death(
    store: Store, unit: Unit, attempt: int, death: Death, *, device: str, share: float, started: datetime
) -> None:
    """Commit a failed attempt in place of its worker."""
    import torch

    from harness.work import Workbench
    from harness.work.rows import Attempt, failure_rows

    tried = Attempt(unit, Workbench(store, torch.device("cpu")), attempt, PHASE, started)
    rows = failure_rows(tried, HarnessError(death.message))
    seconds = (datetime.now(UTC) - started).total_seconds()
    rows["units"][0] |= {"seconds": seconds, "device": device, "share": share, "host": None}
    rows["failures"][0] |= {"exception": death.exception, "traceback": death.cause[-20000:], "host": None}
    store.commit_failure(unit.id, attempt, rows)
