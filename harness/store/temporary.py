"""Temporary files: a write that was killed leaves one behind, and nobody else misses it."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator

from harness.store.processes import exists

_NAME = re.compile(r"\.((?P<host>.+)\.(?P<pid>[0-9]+)\.)?[0-9a-f]{32}\.tmp")
HERE_SECONDS, ELSEWHERE_SECONDS = 60, 24 * 3600
"""For how long nothing was written to what is abandoned. A container may hide its processes from their own host."""


def name() -> str:
    """Return a new name, which says whose it is; it begins with a dot, so that nobody reads such a file."""
    return f".{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}.tmp"


def abandoned(base: str, folders: Iterable[str]) -> Iterator[str]:
    """Yield the paths below a local folder of temporary files in `folders` whose writers are gone."""
    for folder in folders:
        try:
            entries = list(os.scandir(f"{base}/{folder}"))
        except OSError:
            continue
        yield from (f"{folder}/{entry.name}" for entry in entries if _is_abandoned(entry))


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    match = _NAME.fullmatch(entry.name)
    try:
        if match is None or not entry.is_file(follow_symlinks=False):
            return False
        silent = time.time() - entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # it has just been given its name
        return False
    if match["host"] == socket.gethostname() and not exists(int(match["pid"])):
        return silent > HERE_SECONDS
    return silent > ELSEWHERE_SECONDS
