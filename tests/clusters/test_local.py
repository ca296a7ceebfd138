"""The cluster on one machine: up, used as it says, down, and nothing left; nobody else's process is touched."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import tiny_study

CLUSTERS = Path(__file__).parents[2] / "clusters"
SCRIPT = CLUSTERS / "local" / "cluster.sh"

Cluster = Callable[[str], subprocess.CompletedProcess[str]]


def _free_ports() -> tuple[int, int]:
    """Return a free port that another one follows, and a third."""
    while True:
        with ExitStack() as stack, socket.socket() as first:
            first.bind(("", 0))
            port = int(first.getsockname()[1])
            next_one, other = (stack.enter_context(socket.socket()) for _ in range(2))
            try:
                next_one.bind(("", port + 1))
            except OSError:
                continue
            other.bind(("", 0))
            return port, int(other.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def dashboard() -> int:
    return _free_ports()[1]


@pytest.fixture(scope="module")
def cluster(folder: Path, dashboard: int) -> Iterator[Cluster]:
    """The script, with ports and a folder of its own; down at the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "CLUSTER_"))}
    own = {"CLUSTER_FOLDER": folder, "CLUSTER_PORT": _free_ports()[0], "CLUSTER_DASHBOARD_PORT": dashboard}
    environment = {**inherited, **{name: str(value) for name, value in own.items()}, "CLUSTER_CPUS": "2"}

    def call(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, command], env=environment, cwd=folder, capture_output=True, text=True)

    yield call
    call("down")


@pytest.fixture(scope="module")
def up(cluster: Cluster) -> str:
    """What it prints when it is up."""
    answer = cluster("up")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def _listening(port: int) -> set[str]:
    """Return the addresses on which something listens at a port, as the kernel writes them."""
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}


@pytest.mark.ray
@pytest.mark.slow
def test_two_nodes_behind_a_token(up: str, folder: Path, dashboard: int) -> None:
    token = folder / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    request = Request(
        f"http://127.0.0.1:{dashboard}/nodes?view=summary", headers={"Authorization": f"Bearer {token.read_text()}"}
    )
    with urlopen(request, timeout=30) as answer:
        nodes = json.load(answer)["data"]["summary"]
    assert [(node["raylet"]["state"], node["raylet"]["resourcesTotal"]["CPU"]) for node in nodes] == [("ALIVE", 1)] * 2
    assert _listening(dashboard) == {"0100007F"}, "127.0.0.1 and nothing else"


@pytest.mark.ray
@pytest.mark.slow
def test_up_again_starts_nothing(up: str, cluster: Cluster, folder: Path) -> None:
    before = {path.name: path.read_text() for path in folder.glob("*.pid")}
    assert cluster("up").stdout == cluster("status").stdout == up
    assert {path.name: path.read_text() for path in folder.glob("*.pid")} == before


@pytest.mark.ray
@pytest.mark.slow
def test_what_it_prints_submits_a_study(up: str, folder: Path) -> None:
    _, export, submit = up.splitlines()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = f"unset RAY_AUTH_TOKEN; {export}; {submit} -- --where kind=original --limit 1"
    answer = subprocess.run(
        ["sh", "-c", command], env=os.environ | {"PATH": path}, cwd=folder, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(tiny_study.committed(folder / "runs")) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_down_leaves_results_and_nothing_else(up: str, cluster: Cluster, folder: Path) -> None:
    scratch = (folder / "scratch").read_text().strip()
    assert cluster("down").returncode == 0
    assert {path.name for path in folder.iterdir()} <= {"runs"}
    assert not Path(scratch).exists()
    commands = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert scratch not in commands
    assert (cluster("status").stdout, cluster("status").returncode) == ("down\n", 1)
    assert cluster("down").returncode == 0, "twice is no error"


def test_a_process_that_got_an_old_number_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        (tmp_path / "head.pid").write_text(f"{bystander.pid}\n")
        (tmp_path / "scratch").write_text(f"{tmp_path / 'ray'}\n")
        down = subprocess.run([SCRIPT, "down"], env=os.environ | {"CLUSTER_FOLDER": str(tmp_path)})
        assert down.returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("script", sorted(CLUSTERS.rglob("*.sh")), ids=lambda path: str(path.relative_to(CLUSTERS)))
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    subprocess.run(["shellcheck", script], check=True)
