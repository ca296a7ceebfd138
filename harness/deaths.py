"""Why the process of a unit ended, and the rows that the unit leaves when it cannot write them itself any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.unit import Unit
    from harness.work.bench import Results

PHASE = "worker"
"""The phase of a failure that is written for a unit: nobody can know how far it was."""

MOST_TRIES = 3
"""How often a unit is begun in one run before the deaths of its processes are taken for its own fault."""

TIME_LIMIT = "TimeLimit"
"""The exception of a unit that took too long, whoever ended it."""


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


def death(error: str, trace: str, time_limit: float, seconds: float = 0.0, tries: int = 1) -> Death:
    """Return why the process of a unit ended.

    Args:
        error: what is known of its end.
        trace: the stack that it left, if any.
        time_limit: of a unit, in seconds.
        seconds: how long it had been running; where a method has removed the stack, they alone tell that it hung.
        tries: how often the unit was begun in this run.
    """
    # The first word of what faulthandler writes.
    if trace.startswith("Timeout") or (not trace and seconds > time_limit):
        return Death(TIME_LIMIT, f"the unit took more than its limit of {time_limit:g} s", trace or error)
    crashed = " of a crash" if trace else ""
    often = f", in each of {tries} tries" if tries >= MOST_TRIES else ""
    message = f"the worker's process died{crashed}{often}; the traceback says what is known"
    return Death(WorkerDied.__name__, message, f"{trace}{error}")


def commit_death(
    store: Results, unit: Unit, attempt: int, death: Death, *, device: str, share: float, started: datetime
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
