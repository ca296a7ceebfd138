"""A tracking server that is down, slow, and up; `harness ui` and `harness sync`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import sync as sync_command
from harness.schedule.patience import free_ports
from harness.tracking import NoSuchStudy, TrackingUnavailable, serve, sync
from harness.tracking.address import Address

# Runs a command as the `harness` script does, and lets nothing reach another machine.
GUARDED = """
import socket, sys
connect = socket.socket.connect
def local(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        sys.exit(f"connects to {address}")
    return connect(self, address)
def resolve(host, *args, **options):
    if host not in ("127.0.0.1", "localhost", "::1"):
        sys.exit(f"asks for {host}")
    return found(host, *args, **options)
found, socket.getaddrinfo, socket.socket.connect = socket.getaddrinfo, resolve, local
from importlib import import_module
try:
    import_module(f"harness.cli.{sys.argv[1]}").command.main(sys.argv[2:], standalone_mode=False)
finally:
    print(*sorted({"torch", "ray"} & set(sys.modules)), file=sys.stderr, end="")
"""


def start(*args: object) -> subprocess.Popen[str]:
    # Under pytest MLflow sends nothing home anyway; as itself it would.
    hidden = ("PYTEST_CURRENT_TEST", "CI", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", GUARDED, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@dataclass
class Ui:
    """A running `harness ui`."""

    process: subprocess.Popen[str]
    line: str
    root: Any

    @property
    def url(self) -> str:
        found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+)/#/experiments/\S+   \(Ctrl-C ends it\)\n", self.line)
        assert found
        return found[1]


@pytest.fixture(scope="module")
def ui(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """The interface of a root that MLflow has never seen."""
    root = type(toy)(tmp_path_factory.mktemp("ui") / "runs", seeds=(0, 1)).commit()
    process = start("ui", "--root", root.path, "--port", free_ports(1)[0])
    assert process.stdout
    yield Ui(process, process.stdout.readline(), root)
    process.terminate()
    process.communicate(timeout=600)


def test_a_server_that_is_down_is_one_line(make_root: Any) -> None:
    root = make_root(seeds=(0,)).commit()
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(TrackingUnavailable, match=rf"MLflow at {url}: .*`harness sync STUDY` fills it in") as caught:
        sync(root.document, root.store, tracking_uri=url)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(make_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    root = make_root(seeds=(0,)).commit()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TrackingUnavailable, match=r"timed out|Timeout|retries") as caught:
            sync(root.document, root.store, tracking_uri=url)
    assert "secret" not in str(caught.value)


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TrackingUnavailable, match=rf"port {port} cannot be used .*--port"):
            serve(Address("sqlite:////nowhere/mlflow.db", None), "127.0.0.1", port, print)


def test_the_command_says_what_it_wrote(make_root: Any) -> None:
    root = make_root(seeds=(0,)).commit()
    answer = CliRunner().invoke(sync_command.command, ["toy", "--root", str(root.path), "--json"])
    (report,) = json.loads(answer.output)
    assert (report["plan"], report["created"], report["unchanged"]) == (root.plan, 1 + len(root.methods), 0)
    with pytest.raises(NoSuchStudy):
        CliRunner().invoke(sync_command.command, ["none", "--root", str(root.path)], catch_exceptions=False)


def test_a_server_that_was_down_is_filled_in_later(
    ui: Ui, make_root: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_root(study="later", seeds=(0, 1)).commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ui.url)
    local = root.sync()
    answers = [CliRunner().invoke(sync_command.command, ["later", "--root", str(root.path)]) for _ in range(2)]
    runs = 1 + len(root.methods)
    assert [answer.output for answer in answers] == [
        f"{root.plan}: 0 runs new, 0 changed, {runs} as they were; {ui.url}\n"
    ] * 2
    assert not local.runs
    remote = type(local)(Address(ui.url, None))
    own = [run for run in remote.runs if run.data.tags["harness.plan"] == root.plan]
    assert len(own) == runs
    (parent,) = (run for run in own if "mlflow.parentRunId" not in run.data.tags)
    assert {one.path for one in remote.client.list_artifacts(parent.info.run_id)} == {"plan.json", "tables"}
    root.commit(root.choose(method="msg"), attempt=2, shift=0.02)
    assert sync(root.document, root.store).updated >= 2
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_ends_the_interface_which_was_silent_reached_nobody_and_needed_no_torch(ui: Ui) -> None:
    with urllib.request.urlopen(f"{ui.url}/health") as answer:
        assert answer.status == 200
    ui.process.send_signal(signal.SIGINT)
    out, err = ui.process.communicate(timeout=600)
    assert (ui.process.returncode, out, err) == (0, "", "")
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{ui.url}/health")
