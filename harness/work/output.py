"""What the code of a unit prints: however much it is, little of it is kept or shown."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from harness.errors import printable

KEPT_BYTES = 8_000
"""Of the end of what a unit printed, for the row of its failure."""

SHOWN_BYTES, SHOWN_BYTES_A_SECOND = 10_000, 1_000
"""What a person is shown of a unit at most: so much, and so much more for every second that it runs."""

PIPE_BYTES = 2**20
WAIT_SECONDS = 1.0
STANDARD = ("stdin", "stdout", "stderr")

Show = Callable[[bytes], object]


class Output:
    """Reads a pipe in a thread of its own, remembers the end, and shows what a person can read."""

    def __init__(self, source: int, show: Show | None) -> None:
        self.bytes = 0
        self.intact = True
        """Whether standard input, output and error could be put back."""
        self._source, self._show = source, show
        self._tail, self._shown = b"", 0
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()

    @property
    def tail(self) -> str:
        """How much was printed, and the end of it; empty if nothing was."""
        lines = self._tail.decode(errors="replace").expandtabs().splitlines()
        text = "\n".join(printable(line) for line in lines)
        return f"it printed {self.bytes:,} bytes, at the end:\n{text}" if self.bytes else ""

    def close(self) -> None:
        """Read what is left, and then no more, though a process may live that could still print."""
        self._over.set()
        self._thread.join(WAIT_SECONDS)
        with suppress(OSError):
            if not self._thread.is_alive():  # else a terminal takes nothing, and the pipe is left to the thread
                os.close(self._source)
            if self._show is not None and self._shown < self.bytes:
                self._show(f"\n[{self.bytes - self._shown:,} more bytes that it printed are not shown]\n".encode())

    def _read(self) -> None:
        with suppress(OSError, ValueError):  # the other end of what is shown has gone, or was closed
            while self._is_more() and (data := os.read(self._source, PIPE_BYTES)):
                self.bytes += len(data)
                self._tail = (self._tail + data)[-KEPT_BYTES:]
                self._show_some(data)

    def _is_more(self) -> bool:
        while True:
            over = self._over.is_set()
            if select.select([self._source], [], [], 0 if over else 0.1)[0]:
                return True
            if over:
                return False

    def _show_some(self, data: bytes) -> None:
        allowed = SHOWN_BYTES + SHOWN_BYTES_A_SECOND * (time.monotonic() - self._begun)
        some = data[: max(0, int(allowed) - self._shown)]
        if self._show is not None and some:
            self._shown += len(some)
            self._show(some)


@contextmanager
def captured(show: bool = False) -> Iterator[Output]:
    """Take what this process and its children write to standard output and error, below Python too.

    With `show`, as much of it as a person can read goes to standard error. The three streams are put back at the end,
    also where they were closed.
    """
    before = {name: getattr(sys, name) for name in STANDARD}
    _flush(before["stdout"], before["stderr"])
    copies = {number: os.dup(number) for number in range(3) if _is_open(number)}
    source, sink = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    for number in (1, 2):
        os.dup2(sink, number)
    os.close(sink)
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    output = Output(source, _shower(before["stderr"], copies) if show else None)
    own = sys.stdout, sys.stderr
    try:
        yield output
    finally:
        _flush(*own)
        output.intact = min([_restore(number, copies.get(number)) for number in range(3)])  # all three
        for number, name in enumerate(STANDARD):
            closed = getattr(before[name], "closed", False)
            setattr(sys, name, _stream(number) if closed and number in copies else before[name])
        output.close()
        for copy in copies.values():
            with suppress(OSError):
                os.close(copy)


def _shower(stderr: TextIO, copies: dict[int, int]) -> Show | None:
    """Return what writes to standard error as it was before; None where there is none."""
    with suppress(OSError, AttributeError, ValueError):
        if stderr.fileno() == 2:
            return (lambda data: os.write(copies[2], data)) if 2 in copies else None
    return None if stderr is None else lambda data: stderr.write(data.decode(errors="replace"))


def _restore(number: int, copy: int | None) -> bool:
    """Put a descriptor back; where that is impossible nothing may block on it. Return whether it was possible."""
    try:
        if copy is None:
            with suppress(OSError):
                os.close(number)
        else:
            os.dup2(copy, number)
        return True
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        return False


def _is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _stream(number: int) -> TextIO:
    """Return a stream on a standard descriptor: closing it leaves that open."""
    return open(number, "w" if number else "r", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _flush(*streams: TextIO | None) -> None:
    for stream in streams:
        with suppress(Exception):
            if stream is not None:
                stream.flush()
