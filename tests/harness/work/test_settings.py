"""What a method changes in its process is put back, and what cannot be is named."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.work.settings import SETTINGS, kept

CHANGES: dict[str, Callable[[], object]] = {
    "the depth of recursion": lambda: sys.setrecursionlimit(12_345),
    "the limits of the process": lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (200, hard(resource.RLIMIT_NOFILE))
    ),
    "the working folder": lambda: os.chdir("/"),
    "the environment": lambda: os.environ.update(OMP_NUM_THREADS="8", NEW="1") or os.environ.pop("PATH"),
    "handlers of signals": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "blocked signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM}),
    "the mask of new files": lambda: os.umask(0o777),
    "where modules are found": sys.path.clear,
    "warnings": lambda: warnings.simplefilter("error"),
    "tracing": lambda: sys.settrace(lambda *event: None),
    "profiling": lambda: sys.setprofile(lambda *event: None),
    "garbage collection": gc.disable,
    "numpy's floating-point errors": lambda: np.seterr(all="raise"),
    "torch's default type": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's threads": lambda: torch.set_num_threads(7),
    "torch's gradients": lambda: torch.set_grad_enabled(False),
    "torch's search for anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "torch's hooks of all modules": lambda: torch.nn.modules.module.register_module_forward_hook(lambda *call: None),
}
NOT_PUT_BACK = "torch's inference mode"


def hard(limit: int) -> int:
    return resource.getrlimit(limit)[1]


@pytest.fixture(autouse=True)
def _tracing() -> Iterator[None]:
    """A debugger or a coverage tool traces: it goes on afterwards."""
    trace, profile = sys.gettrace(), sys.getprofile()
    yield
    sys.settrace(trace)
    sys.setprofile(profile)


def test_there_is_a_change_for_every_setting() -> None:
    assert {setting.name for setting in SETTINGS} == {*CHANGES, NOT_PUT_BACK}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_undone_also_where_the_work_fails(name: str) -> None:
    (setting,) = (setting for setting in SETTINGS if setting.name == name)
    before = setting.read()
    stucks: list[list[str]] = []

    def change_and_fail() -> None:
        with kept() as stuck:
            stucks.append(stuck)
            CHANGES[name]()
            assert setting.read() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert setting.read() == before
    assert stucks == [[]]


def test_all_changes_at_once_are_undone() -> None:
    before = [setting.read() for setting in SETTINGS]
    with kept() as stuck:
        for change in CHANGES.values():
            change()
    assert [setting.read() for setting in SETTINGS] == before
    assert stuck == []


def test_what_cannot_be_put_back_is_named() -> None:
    mode = torch.inference_mode()
    with kept() as stuck:
        mode.__enter__()
    mode.__exit__(None, None, None)
    assert stuck == [NOT_PUT_BACK]


def test_a_working_folder_that_was_removed_is_no_reason_to_fail(tmp_path: Path) -> None:
    there = os.getcwd()
    with kept() as stuck:
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
    assert os.getcwd() == there
    assert stuck == []


def test_an_alarm_of_the_method_is_gone_and_one_around_it_goes_on() -> None:
    rung: list[str] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append("ours"))
    timer = signal.setitimer(signal.ITIMER_REAL, 1000.0, 7.0)
    try:
        with kept():
            signal.signal(signal.SIGALRM, lambda *_: rung.append("the method's"))
            signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
            while not rung:
                time.sleep(1e-3)
        heard = len(rung)
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        time.sleep(0.01)
        assert len(rung) == heard
        assert 900 < left < 1000
        assert interval == 7.0
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
