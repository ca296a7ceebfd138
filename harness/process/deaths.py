"""Why the process of a unit ended."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError

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
