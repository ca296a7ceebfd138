"""The MLflow web interface over the database of a root, until somebody presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from harness.tracking.address import Address
from harness.tracking.errors import TrackingUnavailable
from harness.tracking.quiet import SETTINGS

START_SECONDS, STOP_SECONDS = 300.0, 10.0

# Its job runners are for judging language models: eight more processes of 200 MB each.
SERVER_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # into its log
}


def serve(address: Address, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the interface until interrupted; `ready` gets its URL once it answers.

    What the server prints goes to `mlflow.log` beside the database. For the main thread of a command: SIGINT,
    SIGTERM and SIGHUP interrupt from now on. Raises TrackingUnavailable if the port is taken or the server
    does not start.
    """
    _refuse_taken(host, port)
    log = _log(address)
    # Whoever ends this process, or closes its terminal, means the server as well. A process that a script
    # starts in the background ignores SIGINT until told otherwise.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(address, host, port),
            # The address is not an argument: everybody on this machine sees those, and a password may be in it.
            env={**SETTINGS, **SERVER_SETTINGS, **os.environ, "MLFLOW_BACKEND_STORE_URI": address.uri},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for this process, which then ends the server
        )
    try:
        url = f"http://{host}:{port}"
        _wait_until_ready(server, url, log)
        ready(url)
        server.wait()
        raise TrackingUnavailable(f"the MLflow server has ended by itself; see {log}")
    except KeyboardInterrupt:
        pass
    finally:
        _stop(server)


def _log(address: Address) -> Path:
    return Path(address.file or Path(tempfile.gettempdir(), "mlflow.db")).with_suffix(".log")


def _command(address: Address, host: str, port: int) -> list[str]:
    options = ["--host", host, "--port", str(port), "--workers", "1"]
    destination = ["--artifacts-destination", address.artifacts] if address.artifacts else []
    return [sys.executable, "-m", "mlflow", "server", *options, *destination]


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingUnavailable(
                f"{host} port {port} cannot be used ({error.strerror}); give another one with --port"
            ) from error


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise TrackingUnavailable(f"the MLflow server does not start; see {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
