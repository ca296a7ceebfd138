"""Whether every node reaches the root: proved by writing and reading, before anything starts."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from ray import ObjectRef

    from harness.schedule.cluster import Session
    from harness.store.files import Files

PROBE_SECONDS = 120.0
"""For all nodes together; the first process on a node has to start and to import its libraries."""


class RootNotShared(HarnessError):
    """A node cannot write to the root, or sees another one under the same name."""


def probe_root(session: Session, root: str) -> None:
    """Let every node read what this process wrote under the root, and this process what every node wrote.

    Raises `RootNotShared`, which names the first node for which it does not hold.
    """
    from harness.store.files import Files

    files, token = Files.open(root, write=True), uuid.uuid4().hex
    nodes = {_probe_path(token, node.id): node for node in session.nodes()}
    ours = _probe_path(token, "driver")
    try:
        files.write(ours, token.encode())
        answers = _ask({path: node.id for path, node in nodes.items()}, root, ours, token)
        for path, node in nodes.items():
            problem = answers[path] or _difference(files, path, token)
            if problem:
                raise RootNotShared(
                    f"root {files.address} is not shared: {node.name} {problem}; "
                    "give one that every node reaches, such as a network folder or s3://"
                )
    finally:
        for path in (ours, *nodes):
            with contextlib.suppress(OSError):
                files.delete(path)


def _probe_path(token: str, who: str) -> str:
    return f"commits/.probe-{token}-{who}"


def _ask(nodes: dict[str, str], root: str, ours: str, token: str) -> dict[str, str]:
    """Return the problem of each node, by the path of its probe; empty where there is none."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    asked = {
        path: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            root, ours, path, token
        )
        for path, node in nodes.items()
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_SECONDS)
    return {path: _answer(request) for path, request in asked.items()}


def _answer(request: ObjectRef[str]) -> str:
    import ray

    try:
        return ray.get(request, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"did not answer in {PROBE_SECONDS:g} s"
    except ray.exceptions.RayError as error:
        return f"cannot run the harness: {str(error).strip().splitlines()[-1]}"


def _look(root: str, ours: str, path: str, token: str) -> str:
    """On a node: read what the driver wrote, write something in return; say what went wrong."""
    from harness.store.files import Files

    try:
        files = Files.open(root, write=True)
        problem = _difference(files, ours, token)
        if not problem:
            files.write(path, token.encode())
        return problem
    except (HarnessError, OSError) as error:
        return f"cannot write there ({' '.join(str(error).split())})"


def _difference(files: Files, path: str, token: str) -> str:
    try:
        return "" if files.read(path) == token.encode() else "sees another content there"
    except FileNotFoundError:
        return "sees another folder under that name"
