"""Several drivers on one root: one of a study goes on, of two studies both; who lost the right to write stops."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tiny_study
from tiny_chaos import END_SECONDS, Chaos, repeated

from harness.store import Store
from harness.store import lease as leases

ELSEWHERE = Path(__file__).parent / "elsewhere"
SHARING: Mapping[str, Any] = {"keep_models": "none", "measures": ["accuracy", "anamnesis"]}
"""Of trials, others look at the weights; all weights are dropped that no unit of the study needs any more."""

WRONG, AT_ONCE = 2, 6
SILENT = 61.0
"""Seconds after which a driver elsewhere is taken for dead."""


def silent(study: Chaos, seconds: float) -> None:
    """Let the lease of a study say that its driver was silent for so long."""
    files = Store.open(str(study.root), write=True)._files
    info = leases._read(files, study.plan.id)
    assert info is not None
    leases._write(files, study.plan.id, replace(info, heartbeat=datetime.now(UTC) - timedelta(seconds=seconds)))


def refused(answer: tiny_study.Answer) -> str:
    """Return the one line of a driver that did not run."""
    assert (answer.code, answer.out, len(answer.lines)) == (WRONG, "", 1), answer
    return answer.err


def ended(process: subprocess.Popen[str]) -> tiny_study.Answer:
    out, err = process.communicate(timeout=END_SECONDS)
    return tiny_study.Answer(process.returncode, out, err)


@repeated(short=0, full=4)
def test_a_second_driver_is_refused(times: int, chaos: Callable[..., Chaos]) -> None:
    """A second driver of a study that runs."""
    study = chaos()
    first = study.start()
    for turn in range(times):
        study.wait_for(1 + turn, first)
        said = refused(study.run())
        assert f"is being run by pid {first.pid} on {socket.gethostname()} since" in said
        study.injected()
    assert ended(first).code == 0
    study.note()
    study.settle()
    assert study.row.failed == 0


@repeated(short=0, full=5)
def test_many_drivers_begin_at_once(times: int, chaos: Callable[..., Chaos]) -> None:
    """Six drivers of a study begin at once, beside the lease of a killed one."""
    study = chaos(seeds=6)
    for turn in range(times):
        drivers = [study.start() for _ in range(AT_ONCE)]
        winner = the_last(drivers)
        answers = [ended(driver) for driver in drivers if driver is not winner]
        assert all("is being run by" in refused(answer) for answer in answers)
        study.wait_for(4 * (turn + 1), winner)
        study.kill(winner)
        study.injected()
        study.note()
    study.settle()
    assert study.row.failed == 0


def the_last(drivers: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Return the one of several drivers that still runs when all others have ended."""
    deadline = time.monotonic() + END_SECONDS
    while len(left := [driver for driver in drivers if driver.poll() is None]) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return left[0]


@repeated(short=0, full=3)
def test_two_studies_share_units(times: int, chaos: Callable[..., Chaos], tmp_path: Path) -> None:
    """Two studies that share units, at once.

    What one of them needs no more, the other may: the first has fewer methods, and ends first.
    """
    short = chaos(**SHARING, name="short", methods=["finetune", "ct"])
    long = chaos(**SHARING, name="long", methods=["finetune", "ct", "msg", "gradient_ascent", "neg_grad_plus"])
    reference = tmp_path / "reference"
    shutil.copytree(short.reference, reference)
    together = replace(long, reference=reference, root=reference, others=short.plan.units.keys())
    assert together.run().code == 0  # one after the other
    for turn in range(times):
        root = tmp_path / f"runs-{turn}"
        both = [replace(study, root=root, reference=reference) for study in (long, short)]
        drivers = [study.start() for study in both]
        answers = [ended(driver) for driver in drivers]
        assert [answer.code for answer in answers] == [0, 0], answers
        short.injected()
        for study, other in zip(both, both[::-1], strict=True):
            study.others = other.plan.units.keys()
            study.settle()
    assert short.row.failed == 0


@repeated(short=0, full=3)
def test_a_driver_elsewhere_was_killed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of a driver on another host: it is waited for as long as it may live."""
    here = chaos()
    there = elsewhere(here)
    for turn in range(times):
        process = there.start()
        here.wait_for(3 * (turn + 1), process)
        here.kill(process)
        silent(here, -END_SECONDS)  # however long the next one takes to begin
        assert f"is being run by pid {process.pid} on mars since" in refused(here.run())
        silent(here, SILENT)
        here.injected()
        here.note()
    here.settle()
    assert here.row.failed == 0


@repeated(short=0, full=4)
def test_a_driver_elsewhere_is_paused_for_too_long(times: int, chaos: Callable[..., Chaos]) -> None:
    """A driver on another host is paused, and goes on when another has taken over.

    In turns behind one that has done everything, and beside one that still runs.
    """
    for turn in range(times):
        here = chaos()
        here.root = here.root.with_name(f"runs-{turn}")
        process = elsewhere(here).start()
        here.wait_for(2 + turn, process)
        os.killpg(process.pid, signal.SIGSTOP)
        silent(here, SILENT)  # as if so long had passed
        other = here.start()
        if turn % 2:
            here.wait_for(5 + turn, other)
        else:
            assert ended(other).code == 0
            here.note()
        os.killpg(process.pid, signal.SIGCONT)
        paused = ended(process)
        assert (paused.code, paused.out) == (WRONG, "")
        assert paused.lines[-1].startswith(f"harness: plan {here.plan.id} ")
        by = f"was taken over by pid {other.pid} on " if turn % 2 else "is not this driver's any more"
        assert by in paused.lines[-1], paused
        assert "Traceback" not in paused.err
        if turn % 2:
            assert ended(other).code == 0
            here.note()
        here.injected()
        here.settle()
        assert here.row.failed == 0


def elsewhere(study: Chaos) -> Chaos:
    """Return the same study with drivers that are on another host, by its name."""
    path = os.pathsep.join([str(ELSEWHERE), os.environ.get("PYTHONPATH", "")])
    return replace(study, environment={"PYTHONPATH": path, "ELSEWHERE": "mars"})
