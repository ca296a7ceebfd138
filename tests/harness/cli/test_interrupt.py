"""Ctrl-C, and a reader that goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tiny_study

MODERATE = {"methods": ["finetune", "ct", "msg"], "seeds": 12, "measures": ["accuracy"], "farm": None}


def wait_for_commits(process: subprocess.Popen[str], root: Path, count: int) -> set[str]:
    """Return the committed units once there are so many."""
    while True:
        assert process.poll() is None, process.communicate()
        found = {path.stem for path in (root / "commits").glob("*.arrow")}
        if len(found) >= count:
            return found
        time.sleep(0.01)


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_refuses_a_second_one_and_when_interrupted_keeps_what_is_finished(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, **MODERATE), tmp_path / "runs"  # type: ignore[arg-type]
    process = tiny_study.start("run", study, "--root", root, "--local")
    finished = wait_for_commits(process, root, 3)
    second = tiny_study.harness("run", study, "--root", root, "--local")
    assert (second.code, second.out, len(second.lines)) == (2, "", 1)
    assert f"is being run by pid {process.pid} on " in second.err
    (status,) = json.loads(tiny_study.harness("status", "--root", root, "--json").out)
    assert status["running"].startswith(f"pid {process.pid} on ")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    last, command = err.splitlines()[-1], f"harness run {study} --root {root} --local"
    assert last == f"harness: interrupted; everything finished is kept, the same command goes on: {command}"
    assert "Traceback" not in err
    kept = tiny_study.committed(root)
    assert finished <= kept < set(tiny_study.plan_of(tmp_path, **MODERATE).units)  # type: ignore[arg-type]
    assert list((root / "commits").glob("*.arrow")) == []  # folded before it stopped
    assert list((root / "studies").glob("*.lease")) == []
    rest = tiny_study.harness("run", study, "--root", root, "--local", "--limit", 1)
    assert rest.code == 0
    assert f"{len(kept)} cached" in rest.err


def test_a_reader_that_goes_away_is_no_error(finished: Path) -> None:
    command = f"{tiny_study.HARNESS} query 'select * from signals' --format json --root {finished} | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
