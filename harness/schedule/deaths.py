"""The stacks that dying workers leave on their nodes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.schedule.cluster import Node

READ_SECONDS = 10.0


def trace_path(token: str, unit: str, attempt: int) -> str:
    """Return where, on its node, the stack of an attempt goes when its process is ended or crashes."""
    return os.path.join(tempfile.gettempdir(), f"harness-{token}-{unit}-{attempt}.trace")


def collect_trace(nodes: Iterable[Node], token: str, unit: str, attempt: int) -> str:
    """Return the stack that an attempt left on one of the nodes, or nothing; the file is removed.

    Where it is not on this machine all are asked, since nobody can say on which of them a process was that is dead.
    """
    if here := _take(token, unit, attempt):
        return here
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    take = ray.remote(num_cpus=0, max_retries=0)(_take)
    asked = [
        take.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            token, unit, attempt
        )
        for node in nodes
    ]
    answers, silent = ray.wait(asked, num_returns=len(asked), timeout=READ_SECONDS)
    for request in silent:
        ray.cancel(request)
    traces = []
    for answer in answers:
        with contextlib.suppress(ray.exceptions.RayError):  # a node that died after its worker
            traces.append(ray.get(answer))
    return "".join(traces)


def _take(token: str, unit: str, attempt: int) -> str:
    path = trace_path(token, unit, attempt)
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def drop_traces(token: str) -> None:
    """Remove what units of a run left on this machine that were stopped, not done."""
    for path in Path(tempfile.gettempdir()).glob(f"harness-{token}-*.trace"):
        with contextlib.suppress(OSError):
            path.unlink()
