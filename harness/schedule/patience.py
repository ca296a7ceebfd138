"""Ray gives its own processes 15 to 30 s to start; a busy machine, or Python on a network file system, takes longer.

As a program it is Ray's own command line, with patience: `python -m harness.schedule.patience start --head`.
"""

from __future__ import annotations

import inspect
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.2
_REGISTERING = "RAY_agent_register_timeout_ms"
_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def patient_start(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Inside the block, a node of Ray that starts has so long to be known to its head.

    Ray asks for the new node again and again until its 30 s are over. Here each of these questions waits for an answer
    itself, so that the first one may take as long as it needs. A raylet dies 15 s after it started its agents if they
    have not yet written which ports they found (ray-project/ray#65983). Here they are told their ports, and the files
    that the raylet looks for are there before it starts.
    """
    from ray._private import services

    ask: Any = services.get_node
    start: Any = services.start_raylet

    def wait(*arguments: Any, **options: Any) -> Any:
        last = time.monotonic() + seconds
        while True:
            try:
                return ask(*arguments, **options)
            except RuntimeError:
                if time.monotonic() > last:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def start_with_ports(*arguments: Any, **options: Any) -> Any:
        told = inspect.signature(start).bind_partial(*arguments, **options).arguments
        unset = [name for name in _AGENT_PORTS if not options.get(name)]
        options |= dict(zip(unset, free_ports(len(unset)), strict=True))
        for name in _AGENT_PORTS:
            Path(told["session_dir"], f"{name}_{told['node_id']}").write_text(str(options[name]))
        return start(*arguments, **options)

    known = _REGISTERING in os.environ  # what a user says wins
    os.environ.setdefault(_REGISTERING, f"{1000 * seconds:.0f}")
    services.get_node, services.start_raylet = wait, start_with_ports
    try:
        yield
    finally:
        services.get_node, services.start_raylet = ask, start
        if not known:
            del os.environ[_REGISTERING]


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    from ray.scripts import scripts

    command_line: Any = scripts.main
    with patient_start():
        command_line()
