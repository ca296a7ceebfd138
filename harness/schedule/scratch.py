"""Folders that are gone afterwards."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 40
"""Characters of a folder for temporary ones: Ray's socket names add 60, and the system allows 107."""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[str]:
    """Yield the path of a new folder; it is discarded when the block ends."""
    parent = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent if len(parent) <= LONGEST else "/tmp")
    try:
        yield folder
    finally:
        discard(folder)


def discard(folder: str) -> None:
    """Begin to remove a folder, and do not wait: Tune leaves two for each unit, and a disk takes its time."""
    subprocess.run(["sh", "-c", 'rm -rf "$0" >/dev/null 2>&1 &', folder], check=False)
