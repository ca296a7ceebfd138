"""Folders that are gone afterwards; those of a process that was killed go with the next one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from harness.process.last_resort import last_duty

LONGEST = 30
"""Characters of a folder for temporary ones: the names of Ray's sockets add up to 77, and the system allows 107."""
MARK = ".harness"
"""A file in such a folder that its process keeps locked: the system unlocks it, however the process ends."""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """Yield the path of a new folder; it is discarded when the block ends."""
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= LONGEST else "/tmp"
    for orphan in _orphans(parent, prefix):
        discard(orphan)
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        with _marked(folder), last_duty(partial(discard, folder)):
            yield folder
    finally:
        discard(folder)


@contextmanager
def _marked(folder: str) -> Iterator[None]:
    with open(f"{folder}/{MARK}.new", "w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        os.rename(mark.name, f"{folder}/{MARK}")
        yield


def _orphans(parent: str, prefix: str) -> Iterator[str]:
    """Yield the folders of a prefix whose process has ended."""
    for path in Path(parent).glob(f"{prefix}*/{MARK}"):
        with suppress(OSError), path.open() as mark:  # another's, or its process lives
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield str(path.parent)


def discard(folder: str) -> None:
    """Begin to remove a folder, and do not wait: Tune leaves two for each unit, and a disk takes its time.

    What writes into it may live a moment longer.
    """
    remove = '(rm -rf "$0" || { sleep 1; rm -rf "$0"; }) >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", remove, folder], check=False)
