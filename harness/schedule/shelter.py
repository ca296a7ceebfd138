"""A Ray of our own: who tells a job to end often tells all its processes, and without Ray nothing could be finished."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from harness.process.children import descendants
from harness.process.interrupt import TERMINATIONS


@contextmanager
def sheltered() -> Iterator[None]:
    """What is started inside the block does not hear SIGTERM and SIGHUP, nor does what that starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def endure() -> None:
    """In a worker: hear nothing of an end in the shelter either, though the children that a method starts do.

    Elsewhere a node may be taken away. Ray makes of SIGTERM a SystemExit inside the method that runs, which would pass
    for the method's own failure. It is the death of a worker; the unit runs again elsewhere.
    """
    if signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    for number in TERMINATIONS:
        signal.signal(number, _ignore)  # who ignores it by SIG_IGN has children that do
    os.register_at_fork(after_in_child=_hear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINATIONS)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The driver has heard it too, and ends its workers when it is time."""


def _hear() -> None:
    for number in TERMINATIONS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def ended() -> Iterator[None]:
    """Behind the block, in which Ray is shut down, nothing is left of a Ray of our own.

    Its processes are killed at once: Ray would wait a second for each, as none hears that it should end.
    """
    from ray._private import worker

    own: Any = worker
    node = own._global_node
    raylets = [] if node is None else [info.process.pid for info in node.all_processes.get("raylet", ())]
    if raylets:
        end = node.kill_all_processes
        node.kill_all_processes = lambda **options: end(**(options | {"allow_graceful": False}))
    started = [process for raylet in raylets for process in descendants(raylet)]
    yield
    for process in started:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
