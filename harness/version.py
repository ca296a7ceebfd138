"""Which code computed a result: the version of the harness, and the git commit of its checkout."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

VARIABLE = "HARNESS_COMMIT"
"""Set for the jobs of a cluster, whose code comes without its checkout."""


@cache
def commit() -> str | None:
    """Return the commit of the checkout that the harness runs from, with `-dirty` behind it if a file differs.

    None for a harness that was installed from a package: its version says it.
    """
    import subprocess

    folder = Path(__file__).resolve().parent.parent
    if given := os.environ.get(VARIABLE):
        return given
    if not (folder / ".git").exists():  # git would find the checkout of somebody else's project further up
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of another user
        return None
