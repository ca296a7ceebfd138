"""A parent that only waits: whatever a unit does to the process that it runs in, the rest is done and told.

Drivers are played by a script that loads nothing heavy.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.process.supervisor import supervise
from harness.process.watch import watch

SECONDS = 60.0

SCRIPT = """
import ctypes, itertools, json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from harness.process import supervisor, watch as watching
from harness.process.interrupt import draining
from harness.process.deaths import Death

supervisor.LOOK_SECONDS, supervisor.EXIT_SECONDS = 0.02, 0.2
supervisor.GRACE_SECONDS = watching.GRACE_SECONDS = 0.3
folder, units, code = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
started = os.getpid()

def note(name, text=""):
    with open(folder / name, "a") as file:
        file.write(f"{text}\\n")

def first(name):
    try:
        (folder / f"once-{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

ACTS = {
    "ends": lambda: note("done", "ends"),
    "sleeps": lambda: time.sleep(1000),
    "deaf": lambda: sum(itertools.repeat(0)),
    "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exits": lambda: os._exit(0),
    "crashes": lambda: ctypes.string_at(0),
    "crashes once": lambda: first("crash") and ctypes.string_at(0),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "interrupts": lambda: [os.kill(os.getpid(), n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    "threads": lambda: threading.Thread(target=time.sleep, args=(1000,)).start(),
    "orphans": lambda: (note("orphan", subprocess.Popen(["sleep", "1000"]).pid), os._exit(1)),
    "closes": lambda: (os.closerange(3, 100), os._exit(1)),
}

supervisor.supervise()
own = watching.watch()
note("drivers", json.dumps([os.getpid(), watching.driver(), started]))
with own.to_the_end(), draining() as state:
    for one in own.known.fallen:
        note("fallen", json.dumps([one.unit, one.attempt, one.death.exception, one.death.message, one.death.cause]))
    numbers = {one.unit: one.attempt for one in own.known.fallen}
    own.settled()
    for unit in own.chosen(units, str):
        state.stop_if_asked()
        done = (folder / "committed").exists() and unit in (folder / "committed").read_text().splitlines()
        if done or unit in own.known.failed:
            note("failed" if not done else "known", unit)
            continue
        note("begun", unit)
        with own.over(unit, numbers.get(unit, 0) + 1, 0.3 if unit in ("deaf", "stops") else 30):
            ACTS[unit]()
        note("committed", unit)
        own.renew(["a thread"] if unit == "threads" and len(units) > 1 else [])
    if code == 99:
        os._exit(3)
    sys.exit(code)
"""


def start(folder: Path, units: Sequence[str], code: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(units), str(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(folder: Path, units: Sequence[str], code: int = 0) -> tuple[int, str]:
    """Return how the parent ended, and what was said."""
    with start(folder, units, code) as process:
        _, said = process.communicate(timeout=SECONDS)
    return process.returncode, said


def lines(folder: Path, name: str) -> list[str]:
    file = folder / name
    return file.read_text().splitlines() if file.exists() else []


def fallen(folder: Path) -> list[list[Any]]:
    return [json.loads(line) for line in lines(folder, "fallen")]


def wait_for(folder: Path, name: str, text: str) -> None:
    deadline = time.monotonic() + SECONDS
    while text not in lines(folder, name):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("code", [0, 1, 2, 77])
def test_without_deaths_there_is_one_driver_and_its_exit_code(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, ["ends"], code) == (code, "")
    ((own, known_as, started),) = [json.loads(line) for line in lines(tmp_path, "drivers")]
    assert own != started == known_as, "a person knows the process that was started"


@pytest.mark.parametrize(
    ("unit", "exception", "words"),
    [
        ("exits", "WorkerDied", "The process ended with exit code 0."),
        ("crashes", "WorkerDied", "Segmentation fault"),
        ("is killed", "WorkerDied", "SIGKILL.\nWhere memory is full, that is what the system does."),
        ("closes", "WorkerDied", "exit code 1"),
    ],
)
def test_a_unit_that_ends_its_process_has_three_tries_and_the_rest_is_done(
    tmp_path: Path, unit: str, exception: str, words: str
) -> None:
    assert run(tmp_path, ["ends", unit, "threads"], 1)[0] == 1
    assert lines(tmp_path, "begun") == ["ends", unit, unit, unit, "threads"]
    assert lines(tmp_path, "failed")[0] == unit
    assert [one[:3] for one in fallen(tmp_path)] == [[unit, attempt, exception] for attempt in (1, 2, 3)]
    assert all(words in one[4] for one in fallen(tmp_path))
    assert ["in each of 3 tries" in one[3] for one in fallen(tmp_path)] == [False, False, True]


@pytest.mark.parametrize("unit", ["deaf", "stops"])
def test_a_unit_that_takes_too_long_has_one_try(tmp_path: Path, unit: str) -> None:
    assert run(tmp_path, [unit, "ends"]) == (0, "")
    assert lines(tmp_path, "begun") == [unit, "ends"]
    ((name, attempt, exception, message, cause),) = fallen(tmp_path)
    assert (name, attempt, exception) == (unit, 1, "TimeLimit")
    assert message == "the unit took more than its limit of 0.3 s"
    assert ("in <lambda>" if unit == "deaf" else "SIGKILL") in cause


def test_a_unit_that_dies_once_is_done_in_the_end(tmp_path: Path) -> None:
    assert run(tmp_path, ["crashes once", "ends"]) == (0, "")
    assert lines(tmp_path, "committed") == ["crashes once", "ends"]
    assert len(fallen(tmp_path)) == 1


def test_signals_that_a_unit_sends_itself_change_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, ["interrupts", "ends"]) == (0, "")
    assert lines(tmp_path, "committed") == ["interrupts", "ends"]


def test_a_thread_keeps_nobody_alive_and_a_fresh_process_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, ["threads", "ends"], 1) == (1, "")
    assert len(lines(tmp_path, "drivers")) == 2
    alone = tmp_path / "alone"
    alone.mkdir()
    assert run(alone, ["threads"], 1) == (1, "")
    assert len(lines(alone, "drivers")) == 1


def test_what_a_dead_driver_has_started_ends(tmp_path: Path) -> None:
    run(tmp_path, ["orphans"])
    assert len(lines(tmp_path, "orphan")) == 3
    assert not any(Path("/proc", pid).exists() for pid in lines(tmp_path, "orphan"))


@pytest.mark.parametrize("group", [False, True], ids=["the parent alone", "the group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_driver_once(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    """One to the group, as of a terminal, comes to both; it counts as one: the unit may end."""
    process = start(tmp_path, ["ends", "sleeps", "ends"])
    wait_for(tmp_path, "begun", "sleeps")
    (os.killpg if group else os.kill)(process.pid, number)
    time.sleep(0.3)
    assert process.poll() is None, "it was asked once"
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    assert f"harness.process.interrupt.Stopped: {number.name}" in said
    assert lines(tmp_path, "begun") == ["ends", "sleeps"]


def test_the_driver_ends_with_its_parent(tmp_path: Path) -> None:
    process = start(tmp_path, ["sleeps"])
    wait_for(tmp_path, "begun", "sleeps")
    (own, *_) = json.loads(lines(tmp_path, "drivers")[0])
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    deadline = time.monotonic() + SECONDS
    while Path("/proc", str(own)).exists() and "Z" not in Path("/proc", str(own), "stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_driver_that_ends_outside_of_units_is_not_followed_by_another(tmp_path: Path) -> None:
    code, said = run(tmp_path, ["ends"], 99)
    assert (code, len(lines(tmp_path, "drivers"))) == (1, 1)
    assert "DriverDied: the process of the study ended with exit code 3" in said


def test_a_process_that_has_loaded_more_stays_alone() -> None:
    """This one: torch is here, and with it threads that no copy would have."""
    import torch  # noqa: F401

    supervise()
    assert not watch().is_kept
