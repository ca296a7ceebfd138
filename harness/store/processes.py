"""Whether a process of this machine is still the one that was noted: its number is given again to others."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

_ROUNDED = timedelta(seconds=2)  # the system tells its own start in whole seconds


def exists(pid: int, since: datetime | None = None) -> bool:
    """Say whether a process has a number; with `since`, one that was there at that time, where the system tells."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    begun = None if since is None else _begun(pid)
    return begun is None or since is None or begun - _ROUNDED <= since


def _begun(pid: int) -> datetime | None:
    """Return when a process was started; None where /proc does not tell (not on Linux, or it has just ended)."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        started = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return datetime.fromtimestamp(int(started.split()[1]) + ticks / os.sysconf("SC_CLK_TCK"), UTC)
