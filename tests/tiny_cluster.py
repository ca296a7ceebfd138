"""A head node that wants a token, and nodes that join it; the network namespace of a second machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from harness.schedule import patience
from harness.schedule.patience import free_ports

BIN = Path(sys.executable).parent
START_SECONDS, END_SECONDS = 600, 600  # of a busy machine


@dataclass(frozen=True)
class Head:
    """A head node: its host and port, the address of its dashboard, its token, and the environment that knows it.

    `process` leads the session of all that belongs to the node.
    """

    gcs: str
    address: str
    token: str
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]

    def ask(self, path: str) -> Any:
        """Return what the dashboard answers."""
        request = Request(f"{self.address}{path}", headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for_nodes(self, hosts: Collection[str]) -> None:
        """Wait until these nodes, and no others, are known: the dashboard learns of one some time after it joined."""
        deadline = time.monotonic() + START_SECONDS
        while (known := self._nodes()) != set(hosts):
            assert time.monotonic() < deadline, known
            time.sleep(0.5)

    def _nodes(self) -> set[str]:
        summary = self.ask("/nodes?view=summary")["data"]["summary"]
        return {node["raylet"].get("nodeManagerAddress", "") for node in summary}

    def status(self, job: str) -> str:
        """Return Ray's word for the state of a job."""
        return str(self.ask(f"/api/jobs/{job}")["status"])

    def wait(self, job: str, status: str) -> None:
        """Wait until a job has a status."""
        deadline = time.monotonic() + END_SECONDS
        while self.status(job) != status:
            assert time.monotonic() < deadline, self.status(job)
            time.sleep(0.5)


@contextmanager
def head_node(host: str = "127.0.0.1", cpus: int = 1, with_token: bool = True) -> Iterator[Head]:
    """Run a head node on an address of this machine as long as the block lasts; one without a token lets all in."""
    token, (port, dashboard, clients) = "ab" * 32, free_ports(3)
    environment = {"RAY_AUTH_MODE": "token" if with_token else "disabled", "RAY_AUTH_TOKEN": token}
    options = {
        **{"--port": port, "--dashboard-port": dashboard, "--ray-client-server-port": clients},
        **{"--node-ip-address": host, "--dashboard-host": host, "--dashboard-agent-listen-port": 0},
        "--num-cpus": cpus,
    }
    with _ray_start(["--head", "--disable-usage-stats"], options, environment) as process:
        yield Head(f"{host}:{port}", f"http://{host}:{dashboard}", token, environment, process)


@contextmanager
def joined_node(head: Head, host: str, cpus: int, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node that joins a head as long as the block lasts; `within` is the command that starts it elsewhere.

    Yields the process that leads its session.
    """
    options = {"--address": head.gcs, "--node-ip-address": host, "--num-cpus": cpus}
    with _ray_start([], options, head.environment, within) as process:
        yield process


@contextmanager
def _ray_start(
    flags: Sequence[str], options: Mapping[str, object], environment: Mapping[str, str], within: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        command = [*within, BIN / "python", "-P", patience.__file__, "start", "--block", "--temp-dir", folder, *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *(str(part) for option in options.items() for part in option)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=inherited | path | environment,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while "Ray runtime started" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Network:
    """Two machines on one wire: the address of this one, that of the other, and how a command is run there."""

    here: str
    there: str
    within: Sequence[str]


@contextmanager
def second_machine(name: str = "harness2") -> Iterator[Network]:
    """Make a network namespace that is joined to this machine by a wire of its own; needs root and `ip`."""
    here, there, wire = "10.213.77.1", "10.213.77.2", ("harness-v0", "harness-v1")
    inside = ["ip", "netns", "exec", name]
    try:
        for command in (
            ["ip", "netns", "add", name],
            ["ip", "link", "add", wire[0], "type", "veth", "peer", "name", wire[1], "netns", name],
            ["ip", "address", "add", f"{here}/30", "dev", wire[0]],
            ["ip", "link", "set", wire[0], "up"],
            [*inside, "ip", "address", "add", f"{there}/30", "dev", wire[1]],
            [*inside, "ip", "link", "set", wire[1], "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
        yield Network(here, there, inside)
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)  # takes the wire along
