"""Ctrl-C on a Ray of our own: it drains, keeps what ended, says nothing of its own, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.process.interrupt import draining
from harness.store import Store
from harness.unit import Kind, Unit

PROGRAM = """
import json, sys
from harness import registry
from harness.schedule import Cluster, connect, run_units
from harness.unit import Unit

registry.load(("unruly",))
units = [Unit.from_json(document) for document in json.load(sys.stdin)]
with connect(Cluster(workers=2), "ray.log") as session:
    run_units(
        units, root="runs", session=session, attempts={}, device="cpu", plugins=["unruly"],
        report=lambda unit, status, place: print(unit.id, status, flush=True),
    )
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="sigint-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.ray
@pytest.mark.slow
def test_a_first_ctrl_c_drains_and_keeps_everything(
    make_units: Callable[..., list[Unit]], tmp_path: Path, temporary: Path, notes: Path
) -> None:
    methods = ["sleeps", "{sleeps: {milliseconds: 20000}}"]
    units = [unit for unit in make_units(methods, seeds=8) if unit.kind != Kind.RETRAIN]
    store = Store.open(str(tmp_path / "runs"), write=True)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives one
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        json.dump([unit.to_json() for unit in units], process.stdin)
        process.stdin.close()
        lines = [process.stdout.readline() for _ in range(11)]  # some have ended, and a long one has begun
        os.killpg(process.pid, signal.SIGINT)
        lines += process.stdout.readlines()
        error = process.stderr.read()
    told = dict(line.split() for line in lines)  # and not a word of Ray's
    assert set(told.values()) == {"done"}
    assert told.keys() == store.committed()
    assert len(told) < len(units)
    assert error.startswith("Traceback")
    assert error.endswith("Stopped: SIGINT\n")
    assert process.returncode != 0
    _wait_until_empty(temporary)


def _wait_until_empty(folder: Path) -> None:
    """What is discarded goes in the background; torch makes a folder of its own, which stays."""
    patience = threading.Event()
    for _ in range(300):
        left = {path.name for path in folder.iterdir() if not path.name.startswith("torch")}
        if not left:
            return
        patience.wait(0.1)
    pytest.fail(f"left behind: {left}")


def test_a_second_ctrl_c_stops_at_once() -> None:
    with draining() as state:
        signal.raise_signal(signal.SIGINT)
        assert state.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_ends_after_five_seconds_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.process.interrupt.DRAIN_SECONDS", 0.05)
    with draining():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(60)


def test_ctrl_c_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with draining():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
