"""Signals while a study runs: what children that methods fork make of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import AbstractContextManager

import pytest

from harness.process.interrupt import draining, terminations_stop


@pytest.mark.parametrize("block", [terminations_stop, draining])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_child_that_was_forked_ends_when_it_is_told_to(
    block: type[AbstractContextManager[object]], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with block():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        child.start()
        assert child.pid
        os.kill(child.pid, number)
        child.join()
    assert child.exitcode == -number
    assert signal.getsignal(number) == before
