"""Ctrl-C in every phase: back at the prompt within ten seconds, with one line that says how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from tiny_chaos import Chaos, Moment, changed, folding, reached, repeated, session, start_on_terminal

AUDITED: dict[str, Any] = {
    "farm": {"shadows": 2, "pools": {"canary": {"size": 40, "labels": "random"}}},
    "measures": ["accuracy", "population_mia", "ulira"],
}
ONCE_SECONDS, TWICE_SECONDS = 10.0, 3.0
"""From the first Ctrl-C, and from the second, to the end of the process."""
GONE_SECONDS = 10.0
"""How long the system may take to end what was killed."""

Phase = Callable[[Chaos, subprocess.Popen[str]], Moment]


def listening(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """The command has begun, and has loaded nothing yet: it listens for signals."""
    return lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1


def starting_ray(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """Some of Ray's processes run."""
    return lambda: any("gcs_server" in what for what in session(process).values())


def started_ray(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """The node of Ray runs, and the driver is about to join it."""
    return lambda: any("/raylet/raylet" in what for what in session(process).values())


def units(more: int, study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """So many more units are committed."""
    before = len(study.begun()) if study.root.exists() else 0
    return reached(study, min(before + more, len(study.plan.units)))


def farm(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """A unit of the farm is committed."""
    of_farm = {unit.id for unit in study.plan.units.values() if unit.kind.of_farm}
    return lambda: not of_farm.isdisjoint(study.pending())


def fold(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """A fold is under way."""
    return folding(study)


def view(table: str, study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """A view was just written, and others follow."""
    return changed(study, table)


def mlflow(study: Chaos, process: subprocess.Popen[str]) -> Moment:
    """MLflow's database is being made."""
    return (study.root / "mlflow.db").exists


ONE_PROCESS: Sequence[Phase] = (
    partial(units, 2),
    listening,
    partial(units, 3),
    farm,
    partial(units, 6),
    fold,
    partial(view, "attacks"),
    partial(view, "rankings"),
    partial(view, "definitions"),
    mlflow,
)
RAY: Sequence[Phase] = (
    starting_ray,
    started_ray,
    partial(units, 0),
    partial(units, 2),
    farm,
    partial(view, "rankings"),
)


def interrupt(process: subprocess.Popen[str], twice: bool) -> float:
    """Press Ctrl-C, which every process of a terminal hears, once or twice; return the seconds to the end."""
    os.killpg(process.pid, signal.SIGINT)
    if twice:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.3)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    begun = time.monotonic()
    process.wait(60)
    return time.monotonic() - begun


def judge(study: Chaos, process: subprocess.Popen[str], seconds: float, twice: bool) -> None:
    """What may be left of a command: one line, and everything that was finished."""
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert seconds < (TWICE_SECONDS if twice else ONCE_SECONDS), (seconds, err)
    *others, last = err.splitlines()
    said, _, command = last.partition("goes on: ")
    assert said == "harness: interrupted; everything finished is kept, the same command ", err
    assert all(not line or line.startswith(("small-", "trials ")) for line in others), err
    assert shlex.split(command) == ["harness", "run", str(study.study), "--root", str(study.root), *study.options]
    deadline = time.monotonic() + GONE_SECONDS
    while left := session(process):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    study.injected()
    if study.root.exists():
        study.note()


def stop(study: Chaos, phases: Sequence[Phase], times: int, twice: bool = False) -> None:
    """Stop drivers of a study in one phase after the other, then let it end."""
    for phase in islice(cycle(phases), times):
        process = study.start()
        study.wait_until(phase(study, process), process)
        judge(study, process, interrupt(process, twice), twice)
        assert not study.leases()
    study.settle()
    assert study.row.failed == 0


@repeated(short=1, full=10)
def test_ctrl_c_once(times: int, chaos: Callable[..., Chaos]) -> None:
    """Ctrl-C, in one process.

    While units, the farm and a fold run, before anything began, and while each view is made.
    """
    stop(chaos(**(AUDITED if times > 1 else {})), ONE_PROCESS, times)


@repeated(short=0, full=6)
def test_ctrl_c_twice(times: int, chaos: Callable[..., Chaos]) -> None:
    """Ctrl-C twice, in one process."""
    stop(chaos(**AUDITED), (*ONE_PROCESS[:4], *ONE_PROCESS[-3:]), times, twice=True)


@pytest.mark.ray
@repeated(short=0, full=6)
def test_ctrl_c_once_with_ray(times: int, chaos: Callable[..., Chaos], temporary: Path) -> None:
    """Ctrl-C, with Ray: while it starts, while units, the farm and the views are under way."""
    study = chaos(("--workers=2",), {"TMPDIR": str(temporary)}, **AUDITED)
    stop(study, RAY, times)
    assert_empty(temporary)


@pytest.mark.ray
@repeated(short=0, full=4)
def test_ctrl_c_twice_with_ray(times: int, chaos: Callable[..., Chaos], temporary: Path) -> None:
    """Ctrl-C twice, with Ray."""
    study = chaos(("--workers=2",), {"TMPDIR": str(temporary)}, **AUDITED)
    stop(study, (RAY[1], RAY[3], *RAY[3:]), times, twice=True)
    assert_empty(temporary)


def assert_empty(folder: Path) -> None:
    """Nothing of Ray and of its runs may stay, as soon as it is removed."""
    deadline = time.monotonic() + 60
    while left := [path.name for path in folder.iterdir() if path.name.startswith(("ray-", "harness-"))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.parametrize("options", [("--local",), pytest.param(("--workers=2",), marks=pytest.mark.ray)])
@repeated(short=0, full=2)
def test_ctrl_c_on_a_terminal(
    times: int, options: tuple[str, ...], chaos: Callable[..., Chaos], temporary: Path
) -> None:
    """Ctrl-C on a terminal."""
    study = chaos(options, {"TMPDIR": str(temporary)})
    for twice in islice(cycle((False, True)), times):
        process, terminal = start_on_terminal(study)
        study.wait_until(units(2, study, process), process)
        begun = time.monotonic()
        os.write(terminal, b"\x03\x03" if twice else b"\x03")
        said = b""
        with suppress(OSError):  # the other end is closed
            while data := os.read(terminal, 2**16):
                said += data
        os.close(terminal)
        assert process.wait(60) == 130
        assert time.monotonic() - begun < (TWICE_SECONDS if twice else ONCE_SECONDS)
        lines = said.decode().replace("\x1b[K", "").replace("\r", "\n").split("\n")
        assert any(line.startswith("stopping: what runs has 5 s to end") for line in lines), lines
        last = [line for line in lines if line][-1]
        assert last.startswith(
            "harness: interrupted; everything finished is kept, the same command goes on: harness "
        ), lines
        assert "Traceback" not in said.decode()
        study.injected()
        study.note()
    study.settle()
