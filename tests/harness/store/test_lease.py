"""One living driver per plan."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.store import LeaseHeld, LeaseLost, Store, StoreCorrupt
from harness.store import lease as lease_module

Clock = Callable[[float], None]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    now = [NOW]

    def advance(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    monkeypatch.setattr(lease_module, "_now", lambda: now[0])
    return advance


def write_lease(store: Store, host: str, pid: int, age: float = 0, beat: float = 0) -> None:
    times = {"started": NOW - timedelta(seconds=age), "heartbeat": NOW - timedelta(seconds=beat)}
    document = {"host": host, "pid": pid, **{name: time.isoformat() for name, time in times.items()}}
    store._files.write("studies/plan.lease", json.dumps(document).encode())


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_plan_is_run_once_at_a_time(store: Store, clock: Clock) -> None:
    with store.lease("plan") as lease:
        assert store.lease_holder("plan") == lease.info
        assert (lease.info.host, lease.info.pid) == (socket.gethostname(), os.getpid())
        who = f"pid {os.getpid()} on {socket.gethostname()}"
        held = f"plan plan is being run by {who} since 2030-01-01 00:00:00 UTC; wait"
        with pytest.raises(LeaseHeld, match=held), store.lease("plan"):
            pass
        with store.lease("other"):
            pass
        assert store.lease_holder("plan") == lease.info
    assert store.lease_holder("plan") is None
    with store.lease("plan"):
        pass


def test_a_lease_ends_when_its_block_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lease("plan"):
        raise ZeroDivisionError
    assert store.lease_holder("plan") is None


@pytest.mark.parametrize(
    ("host", "pid", "age", "beat", "alive"),
    [
        pytest.param("elsewhere", 1, 500, 59, True, id="elsewhere"),
        pytest.param("elsewhere", 1, 500, 61, False, id="elsewhere, silent"),
        pytest.param(socket.gethostname(), os.getppid(), 500, 500, True, id="silent, but its process is there"),
        pytest.param(socket.gethostname(), dead_pid(), 5, 0, False, id="its process is gone"),
        pytest.param(socket.gethostname(), os.getpid(), 0, 0, True, id="this process"),
        pytest.param(socket.gethostname(), os.getpid(), 10**9, 0, False, id="before this process, of its number"),
    ],
)
def test_who_counts_as_alive(
    store: Store, clock: Clock, host: str, pid: int, age: float, beat: float, alive: bool
) -> None:
    write_lease(store, host, pid, age, beat)
    assert (store.lease_holder("plan") is not None) == alive
    if alive:
        with pytest.raises(LeaseHeld, match=f"pid {pid} on {host}"), store.lease("plan"):
            pass
    else:
        with store.lease("plan") as lease:
            assert store.lease_holder("plan") == lease.info


def test_a_beat_writes_at_most_once_in_5_seconds(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lease("plan") as lease:
        started, beats = lease.info.heartbeat, []
        for _ in range(24):
            clock(1)
            lease.beat()
            holder = store.lease_holder("plan")
            assert holder is not None
            beats.append((holder.heartbeat - started).total_seconds())
        assert beats == [second // 5 * 5 for second in range(1, 25)]


def test_a_driver_that_was_taken_over_stops_and_leaves_the_lease(store: Store, clock: Clock) -> None:
    with store.lease("plan") as lease:
        clock(1)
        write_lease(store, "elsewhere", 42)
        lease.beat()  # too soon to look
        clock(5)
        with pytest.raises(LeaseLost, match="taken over by pid 42 on elsewhere"):
            lease.beat()
    holder = store.lease_holder("plan")
    assert holder is not None
    assert holder.pid == 42


def test_of_many_that_start_at_once_one_gets_it(root: Path) -> None:
    store = Store.open(str(root), write=True)
    write_lease(store, socket.gethostname(), dead_pid())  # all of them find a dead driver's
    barrier, got, refused = threading.Barrier(8), [], []

    def start() -> None:
        barrier.wait()
        try:
            stack.enter_context(store.lease("plan"))
            got.append(1)
        except LeaseHeld:
            refused.append(1)

    with ExitStack() as stack:
        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, 7)


def test_a_killed_driver_does_not_block_its_plan(root: Path) -> None:
    code = f"""
import os
from harness.store import Store
with Store.open({str(root)!r}, write=True).lease("plan"):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (root / "studies" / "plan.lease").exists()
    store = Store.open(str(root), write=True)
    assert store.lease_holder("plan") is None
    with store.lease("plan"):
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"host": "h", "pid": "x", "started": "", "heartbeat": ""}'])
def test_a_damaged_lease_is_named(store: Store, text: str) -> None:
    store._files.write("studies/plan.lease", text.encode())
    with pytest.raises(StoreCorrupt, match=r"studies/plan\.lease is damaged"), store.lease("plan"):
        pass
