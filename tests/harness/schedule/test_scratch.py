"""Temporary folders: gone afterwards, also those of a process that was killed, and none of one that lives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.schedule.scratch import temporary_folder

HOLDS = """
import sys, time
from harness.schedule.scratch import temporary_folder
with temporary_folder("held-") as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary ones whose path is short enough."""
    with tempfile.TemporaryDirectory(prefix="ts-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def wait_until_gone(folder: Path) -> None:
    """What is discarded goes in the background."""
    deadline = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_goes_with_its_block(parent: Path) -> None:
    with temporary_folder("held-") as folder:
        assert Path(folder).parent == parent
        Path(folder, "file").touch()
    wait_until_gone(Path(folder))


def test_the_folder_of_a_killed_process_goes_with_the_next_one(parent: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        held = Path(process.stdout.readline().strip())
        foreign = parent / "held-by-somebody-else"
        foreign.mkdir()
        with temporary_folder("held-") as own:
            assert held.is_dir(), "its process lives"
            process.kill()
            process.wait()
            with temporary_folder("held-"):
                wait_until_gone(held)
                assert Path(own).is_dir()
    assert foreign.is_dir()


def test_a_long_path_is_not_taken(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (long := parent / ("x" * 40)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with temporary_folder("held-") as folder:
        assert Path(folder).parent == Path("/tmp")
