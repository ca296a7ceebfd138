"""A child process that is stopped when it takes too long, or more memory than is good for the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

LOOK_SECONDS = 0.05


class Stopped(HarnessError):
    """A child process that had to be stopped, or that was ended by a signal."""


@dataclass(frozen=True)
class Ended:
    """How a child ended by itself: its exit code and what it wrote."""

    code: int
    out: str
    err: str


def run(command: Sequence[str], given: str, seconds: float, stdout: int = subprocess.PIPE) -> Ended:
    """Run a command with a text as its input; what it writes to another `stdout` than a pipe is not returned.

    Raises `Stopped`, in a sentence about "it", where it takes more than so many seconds or half of the machine's
    memory, or dies.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE)
    _first_to_go(process.pid)
    try:
        out, err = _communicate(process, given.encode(), seconds)
    finally:
        process.kill()
        process.wait()
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise Stopped(f"it was ended by {name}, as for want of memory; ask for less")
    return Ended(process.returncode, (out or b"").decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _communicate(process: subprocess.Popen[bytes], given: bytes | None, seconds: float) -> tuple[bytes | None, bytes]:
    most, until = _half_of_memory(), time.monotonic() + seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(given, timeout=LOOK_SECONDS)
        given = None  # what has come so far is kept
        if time.monotonic() > until:
            raise Stopped(f"it was stopped after {seconds:g} s; ask for less, or allow more --seconds")
        if _memory(process.pid) > most:
            raise Stopped(f"it was stopped at {most / 1e9:.1f} GB, half of this machine's memory; ask for less")


def _half_of_memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def _memory(pid: int) -> float:
    """Return the bytes that a process holds in memory; 0 where the system does not tell (not on Linux)."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0.0


def _first_to_go(pid: int) -> None:
    """Let Linux end this process rather than any other where memory runs out, as inside a container."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
