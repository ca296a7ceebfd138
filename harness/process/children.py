"""Child processes of this one: found, adopted, ended. Linux alone tells; elsewhere there seem to be none."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

END_SECONDS = 1.0
"""How long children that were killed may take to end."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of what children of this process leave behind, so that it is found among them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when its parent ends, however it does."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def children() -> set[int]:
    """Return the ids of the children of this process, those included that have ended and nobody asked about."""
    with suppress(OSError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # quick, and raises if there is none
        return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_mine(entry)}
    return set()


def end_children(but: Set[int] = frozenset()) -> None:
    """Kill the children that are not among `but`, and what these leave to this process."""
    deadline = time.monotonic() + END_SECONDS
    while (found := children() - but) and time.monotonic() < deadline:
        for child in found:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
            with suppress(OSError):
                os.waitpid(child, os.WNOHANG)


def descendants(parent: int) -> list[int]:
    """Return what a process has started, and what that has started; nothing where /proc does not tell."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, _, rest = path.read_text(errors="replace").rpartition(")")
            children.setdefault(int(rest.split()[1]), []).append(int(number.split()[0]))
    found = list(children.get(parent, []))
    for process in found:
        found += children.get(process, [])
    return found


def _is_mine(entry: Path) -> bool:
    try:
        return int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid()
    except (OSError, IndexError, ValueError):  # it has just ended
        return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
