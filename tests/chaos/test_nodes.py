"""Nodes of a cluster die, also its head: the study goes on without the one, and says what it needs of the other."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from tiny_chaos import Chaos, repeated, session
from tiny_cluster import Head, head_node, joined_node

pytestmark = pytest.mark.ray

HERE = "127.0.0.1"
WRONG = 2
END_SECONDS = 120.0
"""Within which a driver without a head has to end; Ray itself waits for a minute."""
BUSY = "ray::_Inner.train"


def kill_node(leader: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a node at once, as a power cut does."""
    for process in session(leader):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    leader.wait()


def on(study: Chaos, head: Head) -> Chaos:
    """Let the next drivers of a study join a cluster."""
    study.options, study.environment = (f"--address={head.gcs}",), head.environment
    return study


@repeated(short=0, full=3)
def test_a_node_is_killed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of a whole node, with all its workers.

    Another joins after each.
    """
    with ExitStack() as stack:
        head = stack.enter_context(head_node(HERE, cpus=1))
        study = chaos((f"--address={head.gcs}",), head.environment, seeds=12)
        process = None
        for turn in range(times):
            node = stack.enter_context(joined_node(head, HERE, cpus=1))
            process = process or study.start()
            study.wait_for(10 * turn + 2, process)  # what died with a node has ended: a unit is tried three times
            study.wait_until(lambda node=node: any(what.startswith(BUSY) for what in session(node).values()), process)
            kill_node(node)
            study.injected()
        assert process is not None
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert all(line.startswith(("small-", "trials ")) for line in err.splitlines()), err
        study.note()
        study.settle()


def kill_all(head: Head) -> None:
    kill_node(head.process)


def freeze_gcs(head: Head) -> None:
    """Stop what is the memory of a cluster, as a machine that hangs does: nobody's connection is closed."""
    _signal(head, "gcs_server", signal.SIGSTOP)


def kill_raylet(head: Head) -> None:
    _signal(head, "raylet/raylet", signal.SIGKILL)


def _signal(head: Head, program: str, number: signal.Signals) -> None:
    (process,) = (pid for pid, what in session(head.process).items() if what.partition(" ")[0].endswith(program))
    os.kill(process, number)


@repeated(short=0, full=3)
def test_the_head_is_killed(times: int, chaos: Callable[..., Chaos]) -> None:
    """SIGKILL of the head, or it hangs.

    A driver ends in time, and goes on with another head.
    """
    faults = [kill_all, freeze_gcs, kill_raylet]
    study, moments = chaos(seeds=4), random.Random(0)
    for turn in range(times):
        with head_node(HERE, cpus=2) as head:
            process = on(study, head).start()
            there = len(study.wait_for(0, process))
            study.wait_for(there + moments.randrange(1, 6), process)
            faults[turn % len(faults)](head)
            begun = time.monotonic()
            out, err = process.communicate()
            assert time.monotonic() - begun < END_SECONDS
            kill_node(head.process)
        assert (process.returncode, out) == (WRONG, ""), err
        *before, last = err.splitlines()
        assert last.startswith(("harness: the head of Ray at ", "harness: the node of Ray on ")), err
        assert last.endswith("everything finished is kept: with a Ray that runs, the same command goes on")
        assert all(line.startswith(("small-", "trials ")) for line in before), err
        assert not study.leases()
        study.injected()
        study.note()
    with head_node(HERE, cpus=2) as head:
        on(study, head).settle()
    assert study.row.failed == 0
