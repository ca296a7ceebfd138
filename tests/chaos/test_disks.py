"""The disk of a root is full, or cannot be written: a driver says so in one line, and goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_study
from tiny_chaos import Chaos, repeated

WRONG = 2
SIZE = 256 * 2**20
SOME = 16_384
"""Bytes of a file for which there is no room on a full disk."""


def mount(*arguments: object) -> bool:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder):
        pytest.skip("this user may mount nothing")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fill a disk up to some bytes with a file, and return that."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(SOME, state.f_bavail * state.f_frsize - left))
    return filler


def size(folder: Path) -> int:
    """Return the bytes that a study takes, without MLflow's."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("mlflow"))
    return sum(path.stat().st_size for path in files)


def only_line(answer: tiny_study.Answer) -> str:
    """Return the line in which a driver says what is wrong, behind its progress."""
    assert (answer.code, answer.out) == (WRONG, ""), answer
    *before, last = answer.lines
    assert all(line.startswith(("small-", "trials ", "failed: ")) for line in before), answer.err
    return last


@repeated(short=0, full=6)
def test_the_disk_is_full(times: int, chaos: Callable[..., Chaos], disk: Path) -> None:
    """The disk of the root is full.

    Each time a little later, so that it happens in commits, weights, folds, views and the report.
    """
    study = chaos()
    study.root = disk / "runs"
    share = size(study.reference) / times
    for turn in range(times):
        filler = fill(disk, int(turn * share / 2))
        answer = study.run()
        study.injected()
        if answer.code == 0:  # only MLflow found no room
            assert turn > 0
        else:
            said = only_line(answer)
            assert "No space left on device" in said
            assert said.endswith("; make room; what is finished is kept, the same command goes on")
        if (study.root / "studies").exists():
            assert tiny_study.harness("status", "--root", study.root).code == 0
            study.note()
        filler.unlink()
    study.settle()
    assert study.row.failed == 0


@repeated(short=0, full=4)
def test_the_root_cannot_be_written(times: int, chaos: Callable[..., Chaos], disk: Path) -> None:
    """The root is read-only, from the start or suddenly: readers go on."""
    study = chaos()
    study.root = disk / "runs"
    for turn in range(times):
        process = study.start() if turn % 2 else None
        if process:
            study.wait_for(2 * turn, process)
        protect(study, disk, process)
        answer = study.run() if process is None else ended(process)
        said = only_line(answer)
        assert "Read-only file system" in said
        assert said.endswith("; mount it for writing, or give another place")
        study.injected()
        if study.root.exists():
            for command in (["status"], ["query", "select count(*) as n from units"]):
                assert tiny_study.harness(*command, "--root", study.root).code == 0
        assert mount("-o", "remount,rw", disk)
        if study.root.exists():
            study.note()
    study.settle()
    assert study.row.failed == 0


def protect(study: Chaos, disk: Path, process: subprocess.Popen[str] | None) -> None:
    """Let a disk be read only: as soon as no file is open for writing."""
    if process is None:
        assert mount("-o", "remount,ro", disk)
    else:
        study.wait_until(lambda: mount("-o", "remount,ro", disk), process)


def ended(process: subprocess.Popen[str]) -> tiny_study.Answer:
    out, err = process.communicate()
    return tiny_study.Answer(process.returncode, out, err)
