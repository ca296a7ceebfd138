"""Killed again and again, a study ends with the tables of one that nobody disturbed, and runs nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
import tiny_study
from polars.testing import assert_frame_equal

from harness.planner import Plan, make_plan
from harness.store import SCHEMAS, Store
from harness.study import load_study

METHODS = ["finetune", "gradient_ascent", "neg_grad_plus", "successive_random_labels", "msg", "ct"]
FARM = {"shadows": 2, "pools": {"canary": {"size": 40, "labels": "random"}}}
KILLS = 10


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight methods, two seeds, and a farm of one pair of shadows."""
    folder = tmp_path_factory.mktemp("resume")
    return tiny_study.write_study(folder, methods=METHODS, recipe={"epochs": 2}, farm=FARM)


def pending(root: Path) -> set[str]:
    """Return the units whose commits are not yet folded."""
    return {path.stem for path in (root / "commits").glob("*.arrow")}


def kill_when(process: subprocess.Popen[str], root: Path, seen: set[str], count: int, later: float) -> None:
    """Kill the driver some seconds after `count` units are committed; add to `seen` what is."""
    moment = float("inf")
    while time.monotonic() < moment:
        assert process.poll() is None, process.communicate()
        seen |= pending(root)
        if len(seen) >= count and list((root / "studies").glob("*.lease")):
            moment = min(moment, time.monotonic() + later)
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    seen |= pending(root)


def begun(root: Path, plan: Plan) -> dict[str, tuple[datetime, int]]:
    """Return when each finished unit began, and in which attempt."""
    units = Store.open(str(root)).scan("units").filter(pl.col("unit").is_in(list(plan.units))).collect()
    return {row["unit"]: (row["started"], row["attempt"]) for row in units.iter_rows(named=True)}


@pytest.mark.usefixtures("without_mlflow")  # in this process; the killed ones have it
@pytest.mark.slow
def test_a_study_that_was_killed_has_the_tables_of_one_that_was_not(study: Path, tmp_path: Path) -> None:
    plan = make_plan(load_study(study))
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert tiny_study.harness("run", study, "--root", undisturbed, "--local").code == 0

    moments = random.Random(0)
    counts = [*sorted(moments.sample(range(len(plan.units)), KILLS - 1)), len(plan.units)]
    seen: set[str] = set()
    known: dict[str, tuple[datetime, int]] = {}
    for count in counts:
        process = tiny_study.start("run", study, "--root", killed, "--local")
        later = 0 if count == len(plan.units) else moments.uniform(0, 0.2)  # the last one while the views are rebuilt
        kill_when(process, killed, seen, count, later)
        assert tiny_study.committed(killed) == seen
        now = begun(killed, plan)
        assert now.items() >= known.items()  # what was committed before did not run again
        known = now
    assert seen == set(plan.units)

    last = tiny_study.harness("run", study, "--root", killed, "--local")
    assert last.code == 0, last.err
    assert begun(killed, plan) == known
    assert {attempt for _, attempt in known.values()} == {1}
    expected, found = tiny_study.tables(undisturbed), tiny_study.tables(killed)
    for name in SCHEMAS:
        assert_frame_equal(found[name], expected[name], check_exact=True)
    assert all(len(found[name]) for name in ("units", "metrics", "epochs", "signals", "attacks", "rankings"))
