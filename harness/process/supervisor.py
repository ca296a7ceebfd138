"""A study in one process, and a parent that only waits: where a method ends that process, the study goes on in another.

The parent is the process that a person started: it has loaded nothing, is known as the driver, and passes on signals
under other numbers. A signal that the driver gets itself is then a method's own doing and changes nothing. The driver
tells its parent, through memory that they share, which unit it has begun and how each failed; there it also leaves its
stack where it crashes or takes too long. A driver that ends in the middle of a unit has failed in that unit: the next
one writes the row, and does what is left. Linux only; elsewhere, and where a program calls the harness, all is done in
the program's process, and with that ends what a method ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from harness.errors import HarnessError
from harness.process.children import adopt_orphans, die_with_parent, end_children
from harness.process.deaths import MOST_TRIES, death
from harness.process.interrupt import TERMINATIONS, Stopped, handled
from harness.process.last_resort import LAST_RESORT
from harness.process.watch import GRACE_SECONDS, RENEW, Fallen, Known, Watch, become_driver

EXIT_SECONDS = 5.0
"""How long a driver may take to end once it has done everything: threads of methods keep it from that."""

LOOK_SECONDS = 1.0


class DriverDied(HarnessError):
    """The process of a study ended outside of any unit."""


def supervise() -> None:
    """Go on in a child of this process, and in another where that one dies; this process ends as the last one does.

    Does nothing where that is impossible: what has started threads has no true copy.
    """
    if _has_true_copies():
        adopt_orphans()
        parent = _Parent()
        while parent.fork():
            if (code := parent.wait()) is not None:
                raise SystemExit(code)


def _has_true_copies() -> bool:
    """Say whether a copy of this process would be whole: of threads, also those of libraries, none is copied."""
    if sys.platform != "linux" or "torch" in sys.modules:
        return False
    own = sum(thread.name == LAST_RESORT for thread in threading.enumerate())
    if len(os.listdir("/proc/self/task")) > 1 + own:
        return False
    with suppress(OSError, AttributeError):  # an older kernel
        os.close(os.pidfd_open(os.getpid()))
        return True
    return False


@dataclass
class _Running:
    unit: str
    attempt: int
    limit: float
    since: float = field(default_factory=time.monotonic)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))


class _Parent:
    """Waits for one driver after the other, and passes signals on; `last_resort` ends both in time."""

    def __init__(self) -> None:
        self.known = Known()
        self._tries: Counter[str] = Counter()
        self._asked: list[signal.Signals] = []
        heard = [number for number in TERMINATIONS if signal.getsignal(number) != signal.SIG_IGN]
        self._relayed = {number: signal.SIGRTMIN + place for place, number in enumerate((signal.SIGINT, *heard), 1)}

    def fork(self) -> int:
        """Begin a driver; return its id, and 0 in it."""
        self._memory = os.memfd_create("harness")
        self._read, self._trace = 0, b""
        self._running: _Running | None = None
        self._over: int | None = None
        self._last = float("inf")
        parent = os.getpid()
        self._child = os.fork()
        if not self._child:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            become_driver(Watch(self._memory, self.known), self._relayed)
        return self._child

    def wait(self) -> int | None:
        """Wait until the driver has ended; return the exit code, or None if another is to go on."""
        end = os.pidfd_open(self._child)
        with handled(list(self._relayed), self._relay, also_ignored=True):
            while not select.select([end], [], [], LOOK_SECONDS)[0]:
                self._hear()
                self._end_if_late()
        os.close(end)
        _, status = os.waitpid(self._child, 0)
        self._hear()
        os.close(self._memory)
        end_children()
        return self._ended(os.waitstatus_to_exitcode(status))

    def _relay(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(signal.Signals(number))
        with suppress(ProcessLookupError):
            os.kill(self._child, self._relayed[signal.Signals(number)])

    def _end_if_late(self) -> None:
        """End a driver that cannot end its unit itself, as one that is stopped, or that has done everything."""
        run, now = self._running, time.monotonic()
        if now > self._last or (run and now - run.since > run.limit + 2 * GRACE_SECONDS):
            os.kill(self._child, signal.SIGKILL)

    def _hear(self) -> None:
        """Read what the driver has told since; what is not a line of JSON is its stack."""
        while data := os.pread(self._memory, 2**20, self._read):
            self._read += len(data)
            self._trace += data
        *lines, rest = self._trace.split(b"\n")
        while lines and (told := _document(lines[0])) is not None:
            lines.pop(0)
            self._note(told)
        self._trace = b"\n".join([*lines, rest])

    def _note(self, told: dict[str, Any]) -> None:
        if "unit" in told:
            self._running = None if told["unit"] is None else _Running(**told)
        if "chosen" in told:
            self.known.chosen = told["chosen"]
        if "failed" in told:
            self.known.failed[told["failed"]] = told["seconds"]
            self.known.told.add(told["failed"])
        if "settled" in told:
            self.known.fallen.clear()
        if "over" in told:
            self._over = told["over"]
            self._last = min(self._last, time.monotonic() + EXIT_SECONDS)

    def _ended(self, code: int) -> int | None:
        if self._over == RENEW and not self._asked:
            return None
        if self._over not in (None, RENEW):
            return self._over
        if self._asked and code == 128 + self._asked[0]:
            return code  # it has said farewell itself
        if self._asked:
            raise Stopped(self._asked[0])
        how = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
        if self._running is None:
            raise DriverDied(f"the process of the study ended with {how}; what is finished is kept, run it again")
        self._fell(self._running, how)
        return None

    def _fell(self, run: _Running, how: str) -> None:
        self._tries[run.unit] += 1
        tries, seconds = self._tries[run.unit], time.monotonic() - run.since
        said = f"The process ended with {how}.\n"
        if how == "SIGKILL":
            said += "Where memory is full, that is what the system does.\n"
        why = death(said, self._trace.decode(errors="replace"), run.limit, seconds, tries)
        self.known.fallen.append(Fallen(run.unit, run.attempt, run.started, why))
        if why.final or tries >= MOST_TRIES:
            self.known.failed[run.unit] = seconds


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
