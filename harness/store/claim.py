"""One process at a time in an object store, which knows no locks: by claims, objects that each has for itself.

Arrow offers no conditional writes. What every store promises is enough: a listing shows what was written before it.
Of two that both have written their claim, one at least sees the other's. Whoever sees none but its own goes on; else
the one whose name sorts first waits until the others have withdrawn, and they wait until it has gone on and ended.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

from harness.store.errors import RootNotWritable
from harness.store.files import Files

DEAD_SECONDS = 60.0  # what is claimed takes a second; whoever claims it longer has been killed meanwhile
PAUSE_SECONDS = 0.2
SUFFIX = ".claim"


@contextlib.contextmanager
def alone(files: Files, folder: str) -> Iterator[None]:
    """Keep everybody else who asks for the same `folder` out of this block; on a local disk do nothing (see `locked`).

    Not kept out is who comes 60 s later while this process was paused inside.
    """
    if files.local:
        yield
        return
    claim = _claimed(files, folder)
    try:
        yield
    finally:
        files.delete(claim)


def _claimed(files: Files, folder: str) -> str:
    """Return the path of a claim that nobody else's stands beside; raise `RootNotWritable` if others never end."""
    seen: dict[str, float] = {}
    last = time.monotonic() + 3 * DEAD_SECONDS
    while time.monotonic() < last:
        own = f"{folder}/{uuid.uuid4().hex}{SUFFIX}"
        files.write(own, b"claimed")
        try:
            while (others := _others(files, folder, own, seen)) and own < min(others):
                time.sleep(PAUSE_SECONDS)
            if not others:
                return own
        except BaseException:
            with contextlib.suppress(Exception):
                files.delete(own)
            raise
        files.delete(own)
        while _others(files, folder, own, seen):
            time.sleep(PAUSE_SECONDS)
    raise RootNotWritable(f"{files.where(folder)} is claimed by others all the time; try again later")


def _others(files: Files, folder: str, own: str, seen: dict[str, float]) -> list[str]:
    """Return the claims of others that may live; those that have stood for so long are removed."""
    found = [file.path for file in files.find(folder, SUFFIX) if file.path != own]
    now = time.monotonic()
    dead = [path for path in found if now - seen.setdefault(path, now) > DEAD_SECONDS]
    for path in dead:
        files.delete(path)
    return [path for path in found if path not in dead]
