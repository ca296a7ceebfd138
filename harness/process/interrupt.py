"""Ctrl-C, and being told to end: what runs may finish within five seconds, then everything stops."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

DRAIN_SECONDS = 5.0
DRAIN = "drain"
"""The name of the thread that waits so long."""

TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)
"""What Slurm, Kubernetes and systemd send before they kill, and what a terminal sends that is closed."""

TIME_IS_OVER = signal.SIGURG
"""What `draining` sends itself: no Ctrl-C, and nothing to a process that does not wait for it any more."""

RELAYED: dict[signal.Signals, int] = {}
"""Under which number a signal comes that another process passes on (`supervisor`); elsewhere under its own."""

Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """Work was ended by a signal, whose number is `signal`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)


class Draining:
    """Whether a first signal has asked to begin nothing new, and which; `enough` may say that for another reason."""

    def __init__(self, enough: Callable[[], bool] = lambda: False) -> None:
        self.asked: signal.Signals | None = None
        self._enough = enough

    @property
    def begins_nothing(self) -> bool:
        """Whether nothing new is to begin."""
        return self.asked is not None or self._enough()

    def stop_if_asked(self) -> None:
        """Raise `Stopped` if a signal has asked for it."""
        if self.asked:
            raise Stopped(self.asked)


@contextmanager
def terminations_stop() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP raise `Stopped`, as a Ctrl-C raises KeyboardInterrupt.

    Works in the main thread. One that is ignored, as `nohup` has it, stays ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with handled(TERMINATIONS, stop):
        yield


@contextmanager
def draining(enough: Callable[[], bool] = lambda: False) -> Iterator[Draining]:
    """Take a first signal as a wish; a Ctrl-C after it, or five seconds, raise `Stopped`.

    Who is told to end is often told twice, so that a second SIGTERM or SIGHUP changes nothing.
    Works in the main thread; elsewhere nothing is ever asked for.
    """
    state = Draining(enough)
    main = threading.main_thread().ident
    assert main is not None
    # To that thread: it may be waiting for something, and no other would wake it.
    timer = threading.Timer(DRAIN_SECONDS, signal.pthread_kill, [main, TIME_IS_OVER])
    timer.name, timer.daemon = DRAIN, True
    screen = _screen()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if state.asked is None:
            state.asked = signal.Signals(number)
            timer.start()
            _acknowledge(screen)
        elif number == signal.SIGINT:
            state.stop_if_asked()

    def expire(number: int, frame: FrameType | None) -> None:
        state.stop_if_asked()

    with (
        handled((signal.SIGINT,), interrupt, also_ignored=True),
        handled(TERMINATIONS, interrupt),
        handled((TIME_IS_OVER,), expire),
    ):
        try:
            yield state
        finally:
            timer.cancel()
            if screen is not None:
                os.close(screen)
                screen = None


def _screen() -> int | None:
    """Return where standard error leads now, if to a terminal: what a unit prints goes elsewhere while it runs."""
    try:
        return os.dup(2) if os.isatty(2) else None
    except OSError:
        return None


def _acknowledge(screen: int | None) -> None:
    """Tell whoever looks on that a signal was heard; a file shows in its last line how everything ended."""
    with suppress(OSError):  # of a terminal that was closed
        if screen is not None:
            line = f"stopping: what runs has {DRAIN_SECONDS:g} s to end; Ctrl-C stops it now"
            os.write(screen, f"\r\x1b[K{line}\r\n".encode())


@contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Handler, also_ignored: bool = False) -> Iterator[None]:
    """Let a handler have signals inside the block, in the main thread; elsewhere change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(RELAYED.get(number, number)) for number in numbers}
    taken = [number for number in numbers if also_ignored or before[number] != signal.SIG_IGN]
    for number in taken:
        signal.signal(RELAYED.get(number, number), _meaning(number, handler))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(RELAYED.get(number, number), before[number])


_USUAL: Mapping[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    **dict.fromkeys(TERMINATIONS, signal.SIG_DFL),
}


_mask = threading.local()


def _hold() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _USUAL)


def _go_on() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _forget_handlers() -> None:
    """In a child that was forked, as by a pool of a method: who started it must be able to end it, at any moment."""
    for number, usual in _USUAL.items():
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith("harness."):
            signal.signal(number, usual)
    _go_on()


os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_forget_handlers)


def _meaning(meant: signal.Signals, handler: Handler) -> Handler:
    return lambda number, frame: handler(meant, frame)
