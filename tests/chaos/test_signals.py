"""Somebody ends the driver, as Slurm, Kubernetes, systemd or a lost connection do: it goes as after Ctrl-C."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pytest
import tiny_study
from tiny_chaos import END_SECONDS, Chaos, reached, repeated, start_on_terminal


def counts(study: Chaos, times: int) -> list[int]:
    """Return after how many units each driver is ended."""
    return sorted(random.Random(0).choices(range(1, len(study.plan.units)), k=times))


def judge(study: Chaos, process: subprocess.Popen[str], seen: set[str], code: int) -> None:
    """What a driver leaves that was told to end: everything that was finished, in tables, and no lease."""
    assert process.returncode == code, process.communicate()
    assert seen <= tiny_study.committed(study.root)
    assert not study.leases()
    study.injected()
    study.note()


@repeated(short=0, full=3)
def test_the_driver_is_told_to_end(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGTERM of the driver, in one process."""
    study = chaos()
    for count in counts(study, times):
        begun = reached(study, count)
        process = study.start()
        study.wait_until(begun, process)
        seen = study.pending()
        process.terminate()
        out, err = process.communicate(timeout=END_SECONDS)
        judge(study, process, seen, 128 + signal.SIGTERM)
        assert out == ""
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("harness: ended by SIGTERM; everything finished is kept, the same comm")
        assert not study.pending()
    study.settle()
    assert study.row.failed == 0


@pytest.mark.ray
@repeated(short=0, full=4)
def test_the_driver_and_its_ray_are_told_to_end(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGTERM of the driver with its own Ray.

    In turns alone, so that it can finish what is nearly done, and together with all that it has started.
    """
    study = chaos(("--workers=2",))
    for turn, count in enumerate(counts(study, times)):
        begun = reached(study, count)
        process = study.start()
        study.wait_until(begun, process)
        seen = study.pending()
        if turn % 2:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        out, err = process.communicate(timeout=END_SECONDS)
        judge(study, process, seen, 128 + signal.SIGTERM)
        assert out == ""
        last = err.splitlines()[-1]
        assert last.startswith("harness: ended by SIGTERM; everything finished is kept, the same command goes on"), err
        known = ("small-", "trials ", "failed: ", "harness: ")
        assert all(not line or line.startswith(known) for line in err.splitlines()), err
    study.settle()


@repeated(short=0, full=3)
def test_the_terminal_is_closed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGHUP: the terminal of the driver is closed."""
    study = chaos()
    for count in counts(study, times):
        begun = reached(study, count)
        process, terminal = start_on_terminal(study)
        study.wait_until(begun, process)
        seen = study.pending()
        with suppress(BlockingIOError):
            os.set_blocking(terminal, False)
            assert b"units to run" in os.read(terminal, 2**16)
        os.close(terminal)
        process.wait(END_SECONDS)
        judge(study, process, seen, 128 + signal.SIGHUP)
        assert not study.pending()
    study.settle()
    assert study.row.failed == 0
