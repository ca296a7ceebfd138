"""Ctrl-C on a Ray of our own: it drains, keeps what ended, says nothing of its own, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.schedule.interrupt import draining
from harness.store import Store
from harness.unit import Unit

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


def test_a_first_ctrl_c_drains_and_keeps_everything(
    make_units: Callable[..., list[Unit]], tmp_path: Path, notes: Path
) -> None:
    import json

    units = [unit for unit in make_units(["sleeps", "dies_once"], seeds=40) if unit.method.name != "retrain"]
    temporary = tmp_path / "t"
    temporary.mkdir()
    Store.open(str(tmp_path / "runs"), write=True)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives one
    )
    assert process.stdin is not None
    assert process.stdout is not None
    json.dump([unit.to_json() for unit in units], process.stdin)
    process.stdin.close()
    lines = [process.stdout.readline() for _ in range(45)]  # all originals, and some that sleep
    os.killpg(process.pid, signal.SIGINT)
    lines += process.stdout.readlines()
    error = process.stderr.read() if process.stderr else ""
    assert process.wait(60) != 0
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    told = dict(line.split() for line in lines)
    assert told.keys() <= {unit.id for unit in units}
    assert {unit for unit, status in told.items() if status != "failed"} == Store.open(
        str(tmp_path / "runs")
    ).committed()
    assert len(told) < len(units)


def test_a_second_ctrl_c_stops_at_once() -> None:
    with draining() as state:
        signal.raise_signal(signal.SIGINT)
        assert state.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_ends_after_five_seconds_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.schedule.interrupt.DRAIN_SECONDS", 0.05)
    with pytest.raises(KeyboardInterrupt), draining():
        signal.raise_signal(signal.SIGINT)
        threading.Event().wait(60)


def test_ctrl_c_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with draining():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
