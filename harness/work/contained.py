"""The code of a method ends with its unit: no copy of the process, no child and no thread of it goes on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from harness.process.children import children, end_children
from harness.process.interrupt import DRAIN
from harness.work.settings import kept

END_SECONDS = 1.0
"""How long threads of a method may take to end."""

HARMLESS = ("TMonitor",)
"""Threads that libraries leave behind on purpose: that of tqdm sleeps."""


@contextmanager
def no_copies() -> Iterator[None]:
    """End every copy of this process that comes out of the block."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)


@contextmanager
def contained() -> Iterator[list[str]]:
    """Put back what the block changes in this process, and end what it has started.

    A copy of the process that comes out of the block, as it does where a method forks and returns twice, ends at once.
    The list names at the end what goes on all the same, or stays different: units after it are not safe from that.
    """
    others, threads = children(), set(threading.enumerate())
    left: list[str] = []
    try:
        with kept() as stuck, no_copies():
            yield left
    finally:
        end_children(but=others)
        left += stuck
        left += [f"the thread {thread.name}" for thread in _still_running(threads)]


def _still_running(but: set[threading.Thread]) -> list[threading.Thread]:
    found = [
        thread
        for thread in threading.enumerate()
        if thread not in but and type(thread).__name__ not in HARMLESS and thread.name != DRAIN
    ]
    deadline = time.monotonic() + END_SECONDS
    for thread in found:
        with suppress(RuntimeError):  # it was made and not started
            thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in found if thread.is_alive()]
