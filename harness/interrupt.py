"""Ctrl-C: what runs may finish within five seconds, then everything stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

DRAIN_SECONDS = 5.0


class Draining:
    """Whether a first Ctrl-C has asked to begin nothing new."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def draining() -> Iterator[Draining]:
    """Take a first Ctrl-C as a wish; a second one, or five seconds, raise KeyboardInterrupt.

    Works in the main thread; elsewhere nothing is ever asked for.
    """
    state = Draining()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    main = threading.main_thread().ident
    assert main is not None
    # To that thread: it may be waiting for something, and no other would wake it.
    timer = threading.Timer(DRAIN_SECONDS, signal.pthread_kill, [main, signal.SIGINT])
    timer.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if state.asked:
            raise KeyboardInterrupt
        state.asked = True
        timer.start()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield state
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
