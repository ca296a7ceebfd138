"""Whoever tells a command to stop gets the prompt back in time, whatever the command is in the middle of.

What is finished is committed, so a process may end anywhere. It is asked to, and nearly always does (`interrupt`); this
is for a call that does not return, for a library that swallows what a signal raises, and for one that does not bear it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from harness.process.children import descendants
from harness.process.interrupt import TERMINATIONS, handled

STOP_SECONDS, NOW_SECONDS = 8.5, 1.5
"""From the first signal, and from a Ctrl-C after it, to the end of the process."""
DUTY_SECONDS = 0.7
LAST_RESORT = "last-resort"
"""The name of the thread that listens."""

Duty = Callable[[], object]
_duties: list[Duty] = []


@contextmanager
def last_duty(duty: Duty) -> Iterator[None]:
    """Inside the block, a process that is ended here and now calls `duty` first, in a thread of its own."""
    _duties.append(duty)
    try:
        yield
    finally:
        _duties.remove(duty)


@contextmanager
def ends_in_time(farewell: Callable[[signal.Signals], str]) -> Iterator[None]:
    """Once a signal has come, end this process and what it has started, if it is still there some seconds later.

    `farewell` is the line that it then says on standard error, if it is not empty. A signal that came inside the block
    counts behind it, too: an interpreter may take its time to end. Works in the main thread; elsewhere nothing happens.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    # By the system itself: a main thread that is inside a long call would run no handler.
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    # Where standard error leads may change: Ray is started with another.
    _watch = _Watch(heard, os.dup(2), farewell)
    threading.Thread(target=_watch.run, name=LAST_RESORT, daemon=True).start()
    try:
        yield
    finally:
        _watch = None
        signal.set_wakeup_fd(before)
        told.close()


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Inside the block, a signal ends the process here and now, if `ends_in_time` is in force; else nothing changes.

    For what does not bear the exception that a signal raises, where nothing is under way that could be finished.
    """
    watch = _watch
    if watch is None:
        yield
        return
    came: list[signal.Signals] = []
    with handled((signal.SIGINT, *TERMINATIONS), lambda number, frame: came.append(signal.Signals(number))):
        watch.at_once = True
        try:
            yield
        finally:
            watch.at_once = False
            if came:
                watch.end(came[0])


def end_if_told() -> None:
    """End the process here and now if a signal has told it to, and `ends_in_time` is in force."""
    if _watch is not None and (first := _watch.told()) is not None:
        _watch.end(first)


@dataclass
class _Watch:
    """Hears the numbers of signals, as bytes, in a thread of its own; `error` is a descriptor to write to.

    `at_once` says whether to wait after the first one.
    """

    heard: socket.socket
    error: int
    farewell: Callable[[signal.Signals], str]
    at_once: bool = False
    first: signal.Signals | None = None
    _last: float = float("inf")

    def run(self) -> None:
        """Listen until nobody speaks any more; once there was a signal, until the time is over."""
        while numbers := self._listen():
            for number in numbers:
                self._hear(number)
        if self.first:
            time.sleep(max(0.0, self._last - time.monotonic()))
            self.end(self.first)
        self.heard.close()
        os.close(self.error)

    def told(self) -> signal.Signals | None:
        """Return the first signal, also one that has come this moment."""
        time.sleep(0.001)  # for the thread to take note of what it has heard
        while self.first is None and select.select([self.heard], [], [], 0)[0]:
            time.sleep(0.001)
        return self.first

    def _listen(self) -> bytes:
        while True:
            if self.first and time.monotonic() >= self._last:
                self.end(self.first)
            self.heard.settimeout(max(0.001, self._last - time.monotonic()) if self.first else None)
            with suppress(TimeoutError):
                return self.heard.recv(64)

    def _hear(self, number: int) -> None:
        if number not in (signal.SIGINT, *TERMINATIONS):
            return
        if self.at_once:
            self.end(signal.Signals(number))
        if not self.first:
            self.first, self._last = signal.Signals(number), time.monotonic() + STOP_SECONDS
        elif number == signal.SIGINT:
            self._last = min(self._last, time.monotonic() + NOW_SECONDS)

    def end(self, number: signal.Signals) -> None:
        """End as the signal asks to."""
        _end(self.farewell(number), 128 + number, self.error)


_watch: _Watch | None = None
_only_once = threading.Lock()


def end_with(line: str, code: int) -> None:
    """End the process here and now, for a reason that is no signal: `line` is said on standard error."""
    _end(line, code, 2 if _watch is None else _watch.error)


def _end(line: str, code: int, error: int) -> None:
    """Do the last duties, say farewell, and end, with all that was started."""
    with _only_once:  # for good
        _do_duties()
        with suppress(OSError):
            clear = "\r\x1b[K" if os.isatty(error) else ""
            os.write(error, f"{clear}{line}\n".encode() if line else b"")
        # Last, as a Ray without its processes ends this one with a code and words of its own.
        for process in descendants(os.getpid()):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        os._exit(code)


def _stay_silent() -> None:
    """In a child that was forked: what it hears must not count as heard by its parent."""
    if _watch is not None:
        with suppress(ValueError, KeyboardInterrupt):  # not in the main thread; here it would only be complained about
            signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_stay_silent)


def _do_duties() -> None:
    """Do all at once, and wait no longer than `DUTY_SECONDS` for the slowest."""
    last = time.monotonic() + DUTY_SECONDS
    threads = [threading.Thread(target=_do, args=(duty,), daemon=True) for duty in _duties]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, last - time.monotonic()))


def _do(duty: Duty) -> None:
    with suppress(Exception):
        duty()
