"""A process that was told to stop is gone in time, whatever it is in the middle of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from harness.process import last_resort
from harness.process.interrupt import terminations_stop
from harness.process.last_resort import end_if_told, ends_at_once, ends_in_time, last_duty

last_resort.STOP_SECONDS, last_resort.NOW_SECONDS = map(float, sys.argv[2:4])
last_resort.DUTY_SECONDS = 0.5

def say(word):
    print(word, flush=True)

def wait():
    say("ready")
    time.sleep(1000)

def deaf():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)

def swallow():
    deaf()
    while True:
        wait()

def block():
    deaf()
    lock = ctypes.create_string_buffer(64)
    say("ready")
    while True:
        ctypes.CDLL(None).pthread_mutex_lock(lock)  # for ever the second time, and no signal ends it

def start():
    with ends_at_once():
        wait()

def unwind():
    try:
        wait()
    finally:
        end_if_told()

def fork():
    begun, begins = os.pipe()
    if os.fork():
        os.read(begun, 1)
        swallow()
    os.write(begins, b"1")
    time.sleep(1000)

leave = wait

child = subprocess.Popen(["sleep", "1000"])
Path("child").write_text(str(child.pid))
try:
    with ends_in_time(lambda number: f"told {number.name}"), terminations_stop():
        with last_duty(Path("first").touch), last_duty(lambda: 1 / 0), last_duty(lambda: time.sleep(1000)):
            globals()[sys.argv[1]]()
except KeyboardInterrupt:
    while sys.argv[1] == "leave":  # as an interpreter may that ends
        time.sleep(1000)
    child.kill()
    say("left by itself")
"""
NEVER = 600.0


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program that is in the middle of something when this returns."""
    started: list[subprocess.Popen[str]] = []

    def begin(how: str, stop: float = NEVER, now: float = NEVER) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, how, str(stop), str(now)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def is_dead(folder: Path) -> bool:
    """Say whether what the program has started is gone, or dead and not yet buried."""
    try:
        stat = Path("/proc", (folder / "child").read_text(), "stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def is_gone(folder: Path) -> bool:
    """Say whether what the program has started ends at once: the system takes a moment to kill."""
    deadline = time.monotonic() + 30
    while not is_dead(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_dead(folder)


def ended(process: subprocess.Popen[str], folder: Path, number: signal.Signals = signal.SIGINT) -> None:
    """Check that a program was ended, with all that it had started."""
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, f"told {number.name}\n")
    assert is_gone(folder)


@pytest.mark.parametrize("how", ["swallow", "block", "leave", "start", "unwind"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_in_time_with_all_that_it_has_started(
    how: str, number: signal.Signals, start: Start, tmp_path: Path
) -> None:
    process = start(how, stop=NEVER if how in ("start", "unwind") else 0.2)
    process.send_signal(number)
    ended(process, tmp_path, number)
    # A duty of a block that was not left is done, though another one fails, and another takes for ever.
    assert (tmp_path / "first").exists() == (how != "leave")


@pytest.mark.parametrize("how", ["swallow", "block"])
def test_a_second_ctrl_c_ends_it_sooner(how: str, start: Start, tmp_path: Path) -> None:
    process = start(how, now=0.1)
    while process.poll() is None:  # two at once may count as one
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    ended(process, tmp_path)


def test_what_ends_by_itself_is_left_alone(start: Start, tmp_path: Path) -> None:
    process = start("wait")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("left by itself\n", "")
    assert process.returncode == 0
    assert not (tmp_path / "first").exists()


def test_what_a_forked_child_hears_is_no_second_ctrl_c(start: Start, tmp_path: Path) -> None:
    process = start("fork", stop=2, now=0.1)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # both of them
    ended(process, tmp_path)
    assert time.monotonic() - begun >= 2
