"""What tests of the store share: a disk on which a process dies where one chooses, and what disks do to files."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.store import Rows
from harness.store import files as files_module

Install = Callable[[Callable[[int], None]], "Disk"]


class Killed(BaseException):
    """The process is gone."""


class Disk:
    """The operations by which a fold changes a disk; `before` is called with the number of each, from 0."""

    def __init__(self, before: Callable[[int], None]) -> None:
        self.count, self._before, self._dead = 0, before, False

    def __getattr__(self, name: str) -> object:
        if name not in {"fsync", "replace", "unlink", "mkdir"}:
            return getattr(os, name)

        def operation(*args: object) -> object:
            self.step()
            return getattr(os, name)(*args)

        return operation

    def step(self) -> None:
        if self._dead:  # no `finally` of a dead process tidies up
            raise Killed
        try:
            self._before(self.count)
        except Killed:
            self._dead = True
            raise
        self.count += 1

    def open_file(self, path: str, mode: str) -> Torn:
        self.step()
        return Torn(self, path, mode)


class Torn(io.FileIO):
    """Of a process that dies while writing, half of the data reaches the disk."""

    def __init__(self, disk: Disk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        half = len(data) // 2
        super().write(data[:half])
        self._disk.step()
        return half + super().write(data[half:])


def installer(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what puts such a disk under the store, with the function that is called before each operation."""

    def install(before: Callable[[int], None]) -> Disk:
        disk = Disk(before)
        monkeypatch.setattr(files_module, "os", disk)
        monkeypatch.setattr(files_module, "open", disk.open_file, raising=False)
        return disk

    return install


def kills(disk: Install, run: Callable[[], object]) -> Iterator[int]:
    """Let `run` die before its first, second, ... operation, until it survives."""
    at = 0
    while True:

        def before(count: int, at: int = at) -> None:
            if count == at:
                raise Killed

        disk(before)
        try:
            run()
        except Killed:
            disk(lambda _: None)
            yield at
            at += 1
        else:
            return


def small(rows: Rows) -> Rows:
    """Return the rows of two tables: fewer files."""
    return {table: rows[table] for table in ("units", "metrics")}


def torn(data: bytes, at: random.Random) -> bytes:
    """Cut the end off, anywhere."""
    return data[: at.randrange(1, len(data))]


def emptied(data: bytes, at: random.Random) -> bytes:
    """Leave nothing."""
    return b""


def flipped(data: bytes, at: random.Random) -> bytes:
    """Turn one bit, anywhere."""
    place = at.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << at.randrange(8)]) + data[place + 1 :]


def deleted(data: bytes, at: random.Random) -> None:
    """Take the file away."""


HOW: tuple[Callable[[bytes, random.Random], bytes | None], ...] = (torn, emptied, flipped, deleted)
