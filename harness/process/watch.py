"""What the driver of a study tells the parent that watches over it, and what it knows of the drivers before it.

See `harness.process.supervisor`. Without such a parent nobody is told anything.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any, TypeVar

from harness.errors import HarnessError
from harness.process.deaths import Death
from harness.process.interrupt import RELAYED, Stopped

GRACE_SECONDS = 10.0
"""How long a unit may take to hear of its time limit before its process is ended."""

RENEW = 75
"""The exit code of a driver that wants another to go on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Fallen:
    """An attempt at a unit that ended its process: its number, when it began (UTC), and why."""

    unit: str
    attempt: int
    started: datetime
    death: Death


@dataclass
class Known:
    """What outlives a driver.

    The units that were `chosen` to run; the seconds of each that `failed` and is not to be tried again, and which of
    these were `told` of; the attempts whose rows nobody has written yet.
    """

    chosen: list[str] | None = None
    failed: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    fallen: list[Fallen] = field(default_factory=list)

    @property
    def is_later(self) -> bool:
        """Whether there was a driver before this one."""
        return self.chosen is not None


class Watch:
    """Tells, through memory that is shared with the parent, a line of JSON each time; `memory` None: nobody."""

    def __init__(self, memory: int | None = None, known: Known | None = None) -> None:
        self._memory = memory
        self.known = known or Known()

    @property
    def is_kept(self) -> bool:
        """Whether anybody is told."""
        return self._memory is not None

    def chosen(self, units: list[T], key: Callable[[T], str]) -> list[T]:
        """Return the units that are to run: of all, or of those that the first driver chose."""
        if self.known.chosen is None:
            self._tell(chosen=[key(unit) for unit in units])
            return units
        first = set(self.known.chosen)
        return [unit for unit in units if key(unit) in first]

    def settled(self) -> None:
        """Say that the rows of all fallen attempts are written."""
        self._tell(settled=True)

    @contextmanager
    def over(self, unit: str, attempt: int, limit: float) -> Iterator[None]:
        """Say that a unit runs inside the block, and have the process ended if that takes too long."""
        if self._memory is None:
            yield
            return
        self._tell(unit=unit, attempt=attempt, limit=limit)
        faulthandler.enable(self._memory)
        faulthandler.dump_traceback_later(limit + GRACE_SECONDS, exit=True, file=self._memory)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._tell(unit=None)

    def failed(self, unit: str, seconds: float) -> None:
        """Say that a unit has failed, and whoever looks on was told."""
        self._tell(failed=unit, seconds=seconds)

    def renew(self, spoiled: Sequence[str]) -> None:
        """Have another driver go on if this process is `spoiled`."""
        if spoiled and self.is_kept:
            raise SystemExit(RENEW)

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Say how everything ended: threads that methods have left must not keep the process alive."""
        try:
            yield
        except HarnessError:
            self._tell(over=2)
            raise
        except Stopped as stopped:
            self._tell(over=128 + stopped.signal)
            raise
        except SystemExit as stop:
            self._tell(over=stop.code if isinstance(stop.code, int) else int(stop.code is not None))
            raise
        self._tell(over=0)

    def _tell(self, **what: Any) -> None:
        if self._memory is not None:
            with suppress(OSError):  # a method has closed it
                os.write(self._memory, f"{json.dumps(what)}\n".encode())


_watch = Watch()


def watch() -> Watch:
    """Return what this process tells."""
    return _watch


def driver() -> int:
    """Return the id of the process that a person knows as the driver."""
    return os.getppid() if _watch.is_kept else os.getpid()


def become_driver(own: Watch, relayed: Mapping[signal.Signals, int]) -> None:
    """Tell a parent from now on, and hear signals only as it passes them on."""
    global _watch
    _watch = own
    RELAYED.update(relayed)

    def ignore(number: int, frame: FrameType | None) -> None:
        """It came from a method, or to the parent as well."""

    def stopping(number: signal.Signals) -> Callable[[int, FrameType | None], None]:
        def stop(_: int, frame: FrameType | None) -> None:
            raise Stopped(number)

        return stop

    for number, other in relayed.items():
        signal.signal(number, ignore)
        signal.signal(other, stopping(number))
