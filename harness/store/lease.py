"""One driver at a time runs a plan: `studies/<plan>.lease` says which, and that it is alive.

A thread renews the heartbeat, since one unit may take longer than the silence after which a driver is taken for dead.
A driver that was silent for so long, as one that was paused, may find that another took over: it then writes no more.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from harness.process.watch import driver
from harness.store import documents
from harness.store.claim import alone
from harness.store.errors import REMEDY, LeaseHeld, LeaseLost, StoreCorrupt, StoreError
from harness.store.files import Files
from harness.store.processes import exists

SUFFIX = ".lease"
SILENCE = timedelta(seconds=60)  # after which a driver elsewhere is taken for dead
BEAT = timedelta(seconds=5)  # between two writes of the heartbeat
PATIENCE = timedelta(seconds=30)  # with a root that takes no heartbeat
LOOK_SECONDS = 1.0  # between two looks of the thread at whether it is time


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
        if self.pid == driver():
            # A lease from before this process is a predecessor's, as in a container that was restarted.
            return self.started >= _LOADED
        # A number is given again, as after a restart of the machine; but a process that was paused is still there.
        return exists(self.pid, None if _now() - self.heartbeat < SILENCE else self.started)


class Lease:
    """The right to run a plan. Whoever uses it calls `beat` before anything is written."""

    def __init__(self, files: Files, plan_id: str, info: LeaseInfo) -> None:
        self._files = files
        self._plan_id = plan_id
        self._lost: LeaseLost | None = None
        self._one_at_a_time = threading.RLock()
        self.info = info

    def beat(self) -> None:
        """Say that this driver is alive (one write in 5 s); raise `LeaseLost` if another took over.

        For any thread. A root that cannot be written is an error only after half the time that makes a driver dead.
        """
        with self._one_at_a_time:
            if self._lost is not None:
                raise self._lost
            silent = _now() - self.info.heartbeat
            if silent < BEAT:
                return
            try:
                self._renew()
            except LeaseLost as lost:
                self._lost = lost
                raise
            except StoreError:
                if silent >= PATIENCE:
                    raise

    def release(self) -> None:
        """Give the plan free, unless it is another driver's by now."""
        with self._one_at_a_time, self._files.locked(documents.FOLDER), contextlib.suppress(LeaseLost):
            self._check_owner()
            self._files.delete(_path(self._plan_id))

    def _renew(self) -> None:
        with self._files.locked(documents.FOLDER):
            self._check_owner()
            renewed = replace(self.info, heartbeat=_now())
            _write(self._files, self._plan_id, renewed)
            self.info = renewed

    def _check_owner(self) -> None:
        if _is_damaged(self._files, self._plan_id):
            return  # another would have written its own
        found = _read(self._files, self._plan_id)
        if found is None:
            why = "is not this driver's any more: another took it over and has ended, or its lease was deleted"
            raise LeaseLost(f"plan {self._plan_id} {why}; what is finished is kept, the same command goes on")
        if replace(found, heartbeat=self.info.heartbeat) != self.info:
            raise LeaseLost(f"plan {self._plan_id} was taken over{_by(found)}; stop here, it goes on there")


@contextlib.contextmanager
def lease(files: Files, plan_id: str) -> Iterator[Lease]:
    """Hold the lease of `plan_id` inside the block; raise `LeaseHeld` if a living driver has it."""
    now = _now()
    held = Lease(files, plan_id, LeaseInfo(socket.gethostname(), driver(), now, now))
    mine = True
    try:
        try:
            _acquire(files, plan_id, held.info)
        except StoreError:
            mine = False
            raise
        with _beating(held.beat):
            yield held
    finally:
        if mine:  # or nearly: a signal may come as soon as it is written
            with contextlib.suppress(StoreError):  # where a root fails it is a dead driver's as soon as this one is
                held.release()


@contextlib.contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` in a thread as long as the block lasts; what it raises, it raises again where work is written."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(LOOK_SECONDS):
            with contextlib.suppress(Exception):
                beat()

    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def holder(files: Files, plan_id: str) -> LeaseInfo | None:
    """Return who runs `plan_id` now, if anyone."""
    found = _read(files, plan_id)
    return found if found is not None and found.alive else None


def fallen(files: Files, plan_id: str) -> LeaseInfo | None:
    """Return who ran `plan_id` last, if it neither runs any more nor came to say so: it was killed."""
    found = _read(files, plan_id)
    return found if found is not None and not found.alive else None


@contextlib.contextmanager
def running(files: Files) -> Iterator[Iterator[str]]:
    """Yield the plans that somebody runs, or may run; on a file system with locks none begins inside the block."""
    with files.locked(documents.FOLDER):
        plans = (file.name.removesuffix(SUFFIX) for file in files.find(documents.FOLDER, SUFFIX))
        yield (plan for plan in plans if _may_run(files, plan))


def _may_run(files: Files, plan_id: str) -> bool:
    try:
        return holder(files, plan_id) is not None
    except StoreCorrupt:
        return True  # nobody can tell


def _acquire(files: Files, plan_id: str, info: LeaseInfo) -> None:
    _wait_while_damaged(files, plan_id)
    with files.locked(documents.FOLDER), alone(files, documents.path_of(plan_id, ".claims")):
        found = None if _is_damaged(files, plan_id) else holder(files, plan_id)
        if found is not None:
            raise LeaseHeld(f"plan {plan_id} is being run{_by(found)}; wait for it or stop it{_if_dead(found)}")
        _write(files, plan_id, info)


def _wait_while_damaged(files: Files, plan_id: str) -> None:
    """Give a driver that lives the time to write a lease that is damaged anew, with its next heartbeat."""
    last = time.monotonic() + 2 * (BEAT.total_seconds() + LOOK_SECONDS)
    while _is_damaged(files, plan_id) and time.monotonic() < last:
        time.sleep(LOOK_SECONDS)


def _is_damaged(files: Files, plan_id: str) -> bool:
    try:
        _read(files, plan_id)
    except StoreCorrupt:
        return True
    return False


def _path(plan_id: str) -> str:
    return documents.path_of(plan_id, SUFFIX)


def _read(files: Files, plan_id: str) -> LeaseInfo | None:
    try:
        document = documents.read(files, _path(plan_id))
        times = {name: datetime.fromisoformat(str(document[name])) for name in ("started", "heartbeat")}
        found = LeaseInfo(str(document["host"]), int(str(document["pid"])), **times)
        if not 0 < found.pid < 2**31 or None in (found.started.tzinfo, found.heartbeat.tzinfo):
            raise ValueError("no process has that number, or no clock that time")
        return found
    except FileNotFoundError:
        return None
    except (KeyError, ValueError) as error:
        raise StoreCorrupt(f"{files.where(_path(plan_id))} is damaged; {REMEDY}") from error


def _write(files: Files, plan_id: str, info: LeaseInfo) -> None:
    times = {"started": info.started.isoformat(), "heartbeat": info.heartbeat.isoformat()}
    documents.write(files, _path(plan_id), {**asdict(info), **times})


def _by(info: LeaseInfo | None) -> str:
    if info is None:
        return ""
    return f" by pid {info.pid} on {info.host} since {info.started:%Y-%m-%d %H:%M:%S} UTC"


def _if_dead(info: LeaseInfo) -> str:
    """Say when a driver elsewhere would be taken for dead; of one here the system tells at once."""
    if info.host == socket.gethostname():
        return ""
    seconds = (info.heartbeat + SILENCE - _now()).total_seconds()
    return f"; if it was killed, try again in {max(1, math.ceil(seconds))} s"
