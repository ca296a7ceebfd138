"""One driver at a time runs a plan: `studies/<plan>.lease` says which, and that it is alive."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from harness.store import documents
from harness.store.errors import LeaseHeld, LeaseLost, StoreCorrupt
from harness.store.files import Files

SILENCE = timedelta(seconds=60)  # after which a driver elsewhere is taken for dead
BEAT = timedelta(seconds=5)  # between two writes of the heartbeat


def _now() -> datetime:
    return datetime.now(UTC)


_LOADED = _now()


@dataclass(frozen=True)
class LeaseInfo:
    """Who runs a plan: host and process, since when, and when it last said so (UTC)."""

    host: str
    pid: int
    started: datetime
    heartbeat: datetime

    @property
    def alive(self) -> bool:
        """Say whether the driver may still run: its process on this host, its heartbeat elsewhere."""
        if self.host != socket.gethostname():
            return _now() - self.heartbeat < SILENCE
        if self.pid == os.getpid():
            # A lease from before this process is a predecessor's, as in a container that was restarted.
            return self.started >= _LOADED
        return _process_exists(self.pid)


class Lease:
    """The right to run a plan; to be refreshed by `beat` as long as it is used."""

    def __init__(self, files: Files, plan_id: str, info: LeaseInfo) -> None:
        self._files = files
        self._plan_id = plan_id
        self.info = info

    def beat(self) -> None:
        """Say that this driver is alive (one write in 5 s); raise `LeaseLost` if another took over."""
        now = _now()
        if now - self.info.heartbeat < BEAT:
            return
        with self._files.locked(documents.FOLDER):
            self._check_owner()
            self.info = replace(self.info, heartbeat=now)
            _write(self._files, self._plan_id, self.info)

    def release(self) -> None:
        """Give the plan free, unless it is another driver's by now."""
        with self._files.locked(documents.FOLDER), contextlib.suppress(LeaseLost):
            self._check_owner()
            self._files.delete(_path(self._plan_id))

    def _check_owner(self) -> None:
        found = _read(self._files, self._plan_id)
        if found is None or replace(found, heartbeat=self.info.heartbeat) != self.info:
            raise LeaseLost(f"plan {self._plan_id} was taken over{_by(found)}; stop here, it goes on there")


@contextlib.contextmanager
def lease(files: Files, plan_id: str) -> Iterator[Lease]:
    """Hold the lease of `plan_id` inside the block; raise `LeaseHeld` if a living driver has it."""
    held = _acquire(files, plan_id)
    try:
        yield held
    finally:
        held.release()


def holder(files: Files, plan_id: str) -> LeaseInfo | None:
    """Return who runs `plan_id` now, if anyone."""
    found = _read(files, plan_id)
    return found if found is not None and found.alive else None


def _acquire(files: Files, plan_id: str) -> Lease:
    now = _now()
    info = LeaseInfo(socket.gethostname(), os.getpid(), now, now)
    with files.locked(documents.FOLDER):
        found = holder(files, plan_id)
        if found is not None:
            raise LeaseHeld(f"plan {plan_id} is being run{_by(found)}; wait for it or stop it")
        _write(files, plan_id, info)
    # An object store knows no locks: of two that both saw it free, the one that wrote first finds the other.
    if _read(files, plan_id) != info:
        raise LeaseHeld(f"plan {plan_id} is being run{_by(_read(files, plan_id))}; wait for it or stop it")
    return Lease(files, plan_id, info)


def _path(plan_id: str) -> str:
    return documents.path_of(plan_id, ".lease")


def _read(files: Files, plan_id: str) -> LeaseInfo | None:
    try:
        document = documents.read(files, _path(plan_id))
        times = {name: datetime.fromisoformat(str(document[name])) for name in ("started", "heartbeat")}
        return LeaseInfo(str(document["host"]), int(str(document["pid"])), **times)
    except FileNotFoundError:
        return None
    except (KeyError, ValueError) as error:
        raise StoreCorrupt(f"{files.where(_path(plan_id))} is damaged; delete it if nothing runs that plan") from error


def _write(files: Files, plan_id: str, info: LeaseInfo) -> None:
    times = {"started": info.started.isoformat(), "heartbeat": info.heartbeat.isoformat()}
    documents.write(files, _path(plan_id), {**asdict(info), **times})


def _by(info: LeaseInfo | None) -> str:
    if info is None:
        return ""
    return f" by pid {info.pid} on {info.host} since {info.started:%Y-%m-%d %H:%M:%S} UTC"


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
