"""A SQLite file: one process writes it at a time, and it is tried before MLflow, which asks broken ones for minutes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

from harness.errors import cause, one_line
from harness.tracking.address import Address
from harness.tracking.errors import LATER, REBUILD, TrackingUnavailable

LOCK_SECONDS = 10.0

_DAMAGED = ("not a database", "malformed", "corrupt")
_BUSY = ("locked", "busy")


@contextmanager
def only_writer(address: Address) -> Iterator[None]:
    """Keep other processes from writing the same SQLite file; a server looks after itself.

    Raises TrackingUnavailable if another process writes for more than 10 s, or the file cannot be written.
    """
    if address.file is None:
        yield
        return
    try:
        descriptor = os.open(f"{address.file}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise TrackingUnavailable(f"{address.file} cannot be written ({error.strerror}); {LATER}") from error
    try:
        _wait_for_lock(descriptor, address.file)
        _look(address.file)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TrackingUnavailable(f"another process writes {path}; {LATER}") from error
        except OSError as error:
            raise TrackingUnavailable(f"{path} cannot be locked: {cause(error)}") from error
        time.sleep(0.1)


def _look(path: str) -> None:
    """Raise TrackingUnavailable unless a database that is there can be read and written."""
    if not os.path.exists(path):
        return
    try:
        uri = f"file:{quote(path)}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            connection.execute("select count(*) from sqlite_master").fetchone()
            connection.execute("rollback")
    except sqlite3.Error as error:
        why = one_line(error)
        if is_damage(why):
            raise TrackingUnavailable(f"{path} is damaged ({why}); {REBUILD}") from error
        if any(word in why for word in _BUSY):
            raise TrackingUnavailable(f"another process writes {path}; {LATER}") from error
        raise TrackingUnavailable(f"{path} cannot be written ({why}); {LATER}") from error


def is_damage(text: str) -> bool:
    """Say whether these are SQLite's words for a file that is damaged."""
    return any(word in text for word in _DAMAGED)
