"""Reaching Ray, or saying in one line why not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.schedule import Cluster, NoRay, Session, connect


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_importing_the_room_imports_no_ray() -> None:
    assert _python("import sys, harness.schedule; sys.exit('ray' in sys.modules)").returncode == 0


@pytest.mark.ray
def test_a_session_knows_its_nodes(session: Session) -> None:
    (head,) = session.nodes()
    assert (head.cpus, head.gpus) == (2, 4)
    assert socket.gethostname() in head.name


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "nonsense", "ray://127.0.0.1:10001"])
def test_what_is_no_ray_is_named_in_one_line(address: str) -> None:
    with pytest.raises(NoRay, match=rf"^no Ray at {address}: [^\n]+$"), connect(Cluster(address)):
        pytest.fail("connected")


@pytest.mark.ray
def test_ray_that_is_in_use_already_is_named_in_one_line(session: Session) -> None:
    with pytest.raises(NoRay, match=r"^no Ray at local: this process uses another one[^\n]+$"), connect(Cluster()):
        pytest.fail("connected")
    assert session.nodes(), "and goes on to"


@pytest.mark.ray
@pytest.mark.slow
def test_a_wrong_token_is_named_in_one_line(cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    done = _python(
        f"from harness.schedule import *\nwith connect(Cluster({cluster.address!r}), {str(log)!r}): pass",
        RAY_AUTH_TOKEN="70" * 32,
        RAY_NUM_REDIS_GET_RETRIES="2",
    )
    *_, last = done.stderr.splitlines()
    assert last.endswith(
        f"no Ray at {cluster.address}: its token is another one; "
        "put it into RAY_AUTH_TOKEN, or its file into RAY_AUTH_TOKEN_PATH"
    )
    assert done.stdout == ""
    assert "Unauthenticated" in log.read_text()
    assert "Unauthenticated" not in done.stderr
