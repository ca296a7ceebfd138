"""Ray: started on this machine, or joined where it runs."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError, one_line
from harness.process.last_resort import end_if_told, ends_at_once
from harness.schedule.environment import environment
from harness.schedule.exposed import takes_all, warn
from harness.schedule.patience import patient_start
from harness.schedule.pulse import felt
from harness.schedule.quiet import quiet, standard_error
from harness.schedule.scratch import temporary_folder
from harness.schedule.shelter import ended, sheltered

CONNECT_SECONDS = 10.0


class NoRay(HarnessError):
    """Ray cannot be started, or is not where it was looked for."""


@dataclass(frozen=True)
class Cluster:
    """How to reach Ray.

    `address` None: started on this machine, with `workers` cores (None: all) and the GPUs that are seen.
    Else joined: `auto` ($RAY_ADDRESS, or the one that runs on this machine) or `host:port` of its head node.
    """

    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Node:
    """A living node: Ray's id of it, host name and address, CPU cores and GPUs."""

    id: str
    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Session:
    """A connection to Ray, as long as the block of `connect` lasts."""

    address: str

    def nodes(self) -> list[Node]:
        """Return the nodes that live now."""
        import ray

        return [
            _node(found)
            for found in ray.nodes()  # type: ignore[no-untyped-call]
            if found["Alive"]
        ]


def _node(found: dict[str, Any]) -> Node:
    name = f"{found['NodeManagerHostname']} ({found['NodeManagerAddress']}, node {found['NodeID'][:8]})"
    resources = found["Resources"]
    return Node(found["NodeID"], name, resources.get("CPU", 0.0), resources.get("GPU", 0.0))


@contextmanager
def connect(cluster: Cluster, log: str | None = None) -> Iterator[Session]:
    """Start or join Ray for the length of a block; what Ray says goes to the file `log` (None: nowhere).

    Raises `NoRay` in one line: nothing answers there, the token is wrong, or Ray cannot start here. A Ray that dies
    inside the block takes this process along, which says so first and ends with 2. Warns of one that was joined and
    wants no token.
    """
    with quiet(log) as logger, _arguments(cluster) as arguments:
        dashboard = _initialise(arguments, logger)
        if cluster.address is not None and takes_all(dashboard):
            warn(arguments["address"])
        with felt(arguments["address"]) as pulse:
            try:
                yield Session(arguments["address"])
            finally:
                pulse.leave()
                if cluster.address is None:
                    end_if_told()  # Ray takes seconds to stop what it has started; it is killed instead
                _shutdown()


@contextmanager
def _arguments(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Yield what `ray.init` is to be told; a folder for Ray's files goes when the block ends."""
    if cluster.address is not None:
        yield {"address": _resolved(cluster.address)}
        return
    with temporary_folder("ray-") as folder, environment(RAY_USAGE_STATS_ENABLED="0"):
        yield {
            "address": "local",  # whatever $RAY_ADDRESS says
            "num_cpus": cluster.workers,
            "include_dashboard": False,
            "_temp_dir": folder,
        }


def _resolved(address: str) -> str:
    """Return `host:port` of a head node; asks whether anything listens there, since Ray asks for minutes."""
    from ray._private.services import canonicalize_bootstrap_address

    if address.startswith("ray://"):
        raise NoRay(
            f"no Ray at {address}: a study cannot be run through Ray Client; give HOST:PORT of the head node "
            "on a machine of the cluster, or submit the study as a job"
        )
    try:
        found = canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("none runs on this machine; start one with `ray start --head`")
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise NoRay(f"no Ray at {address}: {one_line(error)}") from error
    return str(found)


def _initialise(arguments: dict[str, Any], logger: logging.Logger) -> str | None:
    """Join or start Ray; return `host:port` of its dashboard, if it has one."""
    import ray

    if ray.is_initialized():
        raise NoRay(f"no Ray at {arguments['address']}: this process uses another one; call ray.shutdown() first")
    # An exception in the middle of it makes Ray crash, or hang with Python's lock, at the latest when it is shut down.
    with ends_at_once(), standard_error() as written:
        try:
            with patient_start(), sheltered():
                url: str | None = ray.init(**arguments, log_to_driver=False).dashboard_url
                return url
        except Exception as error:
            _shutdown()
            raise NoRay(f"no Ray at {arguments['address']}: {_reason(written(), error)}") from error
        finally:
            logger.info(written())


def _reason(written: str, error: Exception) -> str:
    if "Unauthenticated" in written:
        return "its token is another one; put it into RAY_AUTH_TOKEN, or its file into RAY_AUTH_TOKEN_PATH"
    return one_line(error)


def _shutdown() -> None:
    import ray

    with ends_at_once(), ended():
        ray.shutdown()
