"""One living driver per plan."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.store import LeaseHeld, LeaseLost, RootNotWritable, Store, StoreCorrupt
from harness.store import files as files_module
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
    store._files.write("studies/plan.lease", json.dumps(document, indent=2).encode())


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
        pytest.param(socket.gethostname(), os.getppid(), 10**9, 61, False, id="silent, its number is another's by now"),
        pytest.param(socket.gethostname(), os.getppid(), 10**9, 59, True, id="not silent, whatever the clock was"),
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
        when = f"; if it was killed, try again in {60 - beat:g} s" if host == "elsewhere" else ""
        with pytest.raises(LeaseHeld, match=f"pid {pid} on {host} .*stop it{when}$"), store.lease("plan"):
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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Beats of hundredths of a second; the list is of what threads raised and nobody caught."""
    monkeypatch.setattr(lease_module, "BEAT", timedelta(seconds=0.02))
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.01)
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    return uncaught


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def beats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_a_driver_beats_while_a_unit_takes_long(store: Store, quick: list[object]) -> None:
    with store.lease("plan") as lease:
        begun = lease.info.heartbeat
        for _ in range(3):
            last = store.lease_holder("plan")
            wait_until(lambda last=last: store.lease_holder("plan") != last)  # type: ignore[misc]
        assert len(beats()) == 1
        assert lease.info.heartbeat > begun
    assert beats() == []
    assert store.lease_holder("plan") is None
    assert quick == []


def test_who_lost_the_lease_in_a_long_unit_writes_nothing_more(store: Store, quick: list[object]) -> None:
    with store.lease("plan") as lease:
        guarded = store.guarded(lease)
        guarded._files.write("reports/page", b"first")
        with store._files.locked("studies"):
            write_lease(store, "elsewhere", 42, beat=-(10**9))
        wait_until(lambda: lease._lost is not None)  # the thread has seen it
        for write in (
            lambda: guarded._files.write("reports/page", b"second"),
            lambda: guarded.drop_model("abc"),
            lambda: guarded.drop_model_unless(lambda plan: False, "abc"),
            lease.beat,
        ):
            with pytest.raises(LeaseLost, match="taken over by pid 42 on elsewhere"):
                write()
        assert store._files.read("reports/page") == b"first"
    assert (beats(), quick) == ([], [])
    holder = store.lease_holder("plan")
    assert holder is not None
    assert holder.pid == 42


def test_a_root_that_takes_no_heartbeat_has_half_a_minute(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise RootNotWritable("full")

    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 1000)
    with store.lease("plan") as lease:
        monkeypatch.setattr(lease_module, "_write", refuse)
        clock(29)
        lease.beat()
        clock(1)
        with pytest.raises(RootNotWritable):
            lease.beat()
        monkeypatch.undo()
        lease.beat()


def test_weights_stay_while_another_study_that_needs_them_runs(store: Store) -> None:
    store._files.write("models/a.safetensors", b"")
    with store.lease("plan"), store.lease("other"):
        store.drop_model_unless(lambda plan: plan == "other", "a")
        assert store.has_model("a")
        store.drop_model_unless(lambda plan: plan == "third", "a")
        assert not store.has_model("a")
    store._files.write("models/a.safetensors", b"")
    write_lease(store, socket.gethostname(), dead_pid())
    store.drop_model_unless(lambda plan: True, "a")
    assert not store.has_model("a")


def test_a_driver_that_is_paused_in_the_lock_is_not_waited_for_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(root), write=True)
    monkeypatch.setattr(files_module, "LOCK_SECONDS", 0.05)
    with (
        store._files.locked("studies"),
        pytest.raises(RootNotWritable, match=r"studies cannot be locked: .* locked for 0\.05 s; is one paused\?"),
        store._files.locked("studies"),
    ):
        pass
    with store._files.locked("studies"):
        pass


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


DAMAGED = ("", "{}", '{"host": "h", "pid": "x", "started": "", "heartbeat": ""}', "[" * 100_000)


def beat_every(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT", timedelta(seconds=seconds))
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", seconds / 20)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_lease_of_nobody_is_named_and_taken_over(
    store: Store, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(0.02, monkeypatch)
    store._files.write("studies/plan.lease", text.encode())
    with pytest.raises(StoreCorrupt, match=r"studies/plan\.lease is damaged.*; harness run STUDY repairs it"):
        store.lease_holder("plan")
    with store.lease("plan") as lease:
        assert store.lease_holder("plan") == lease.info
    assert store.lease_holder("plan") is None


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_driver_that_lives_keeps_its_plan_though_its_lease_is_damaged(
    store: Store, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(0.5, monkeypatch)
    with store.lease("plan") as lease:
        store._files.write("studies/plan.lease", text.encode())
        with pytest.raises(LeaseHeld, match=f"pid {os.getpid()}"), store.lease("plan"):
            pass
        assert store.lease_holder("plan") == lease.info
    assert store.lease_holder("plan") is None


def test_any_altered_byte_of_a_lease_is_noticed(root: Path) -> None:
    """Else one digit of the process number would tell that its driver is dead."""
    store = Store.open(str(root), write=True)
    with store.lease("plan") as lease:
        path = root / "studies" / "plan.lease"
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            try:
                found = store.lease_holder("plan")
            except StoreCorrupt:
                continue
            assert found == lease.info, at  # white space
