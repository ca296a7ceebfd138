"""Terminals that were closed, and readers that have gone: what is written there goes nowhere, and work goes on."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Let what is written to a stream from now on, by anyone, go nowhere."""
    with suppress(OSError):  # a stream in memory
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def silence_closed() -> None:
    """Silence standard output and error where their terminal was closed: each write would raise."""
    for stream in (sys.stdout, sys.stderr):
        if _was_terminal(stream):
            silence(stream)


def _was_terminal(stream: TextIO) -> bool:
    """Say whether a stream is a character device and no terminal (any more): a closed one, or the null device."""
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) and not stream.isatty()
    except OSError:
        return False
