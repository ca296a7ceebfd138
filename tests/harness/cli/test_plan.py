"""`harness plan` on so many workers, and `harness run` within so many device-hours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

import harness
from harness.planner import make_plan
from harness.store import Store
from harness.study import load_study

STATED = {"original": 3600, "retrain": 1800, "unlearn": 60, "search": 60, "timing": 60}


def cost_options(**costs: float) -> list[str]:
    """Return what states so many seconds."""
    return [part for kind, seconds in costs.items() for part in ("--cost", f"{kind}={seconds}")]


def planned(*arguments: object) -> dict[str, Any]:
    """Return what `harness plan --json` prints."""
    found = tiny_study.harness("plan", *arguments, "--json")
    assert (found.code, found.err) == (0, ""), found.err
    document: dict[str, Any] = json.loads(found.out)
    return document


def test_the_benchmark_is_priced_on_many_workers_though_nothing_has_run(tmp_path: Path) -> None:
    arguments = ["deep_unlearn", "--root", tmp_path / "no", "--workers", "8,64", "--workers", 512]
    found = planned(*arguments, *cost_options(**STATED))
    seconds = sum(STATED[kind] * count["units"] for kind, count in found["kinds"].items())
    assert (found["worker_seconds"], found["unpriced"]) == (seconds, 0)
    assert found["device_hours"] == pytest.approx(seconds / 3600)
    assert [one["workers"] for one in found["workers"]] == [8, 64, 512]
    assert found["seconds"] == found["workers"][0]["seconds"]
    timing = STATED["timing"] * found["kinds"]["timing"]["units"]
    work = seconds - timing
    # An original, two generations of a search, and the trial that it chose.
    chain = STATED["original"] + 2 * STATED["search"] + STATED["unlearn"]
    for one in found["workers"]:
        assert (one["timing"], one["chain"]) == (timing, chain)
        assert one["work"] == pytest.approx(work / one["workers"])
        together = one["seconds"] - timing
        assert max(chain, one["work"]) <= together <= chain + one["work"]
        assert one["per_unit"] == pytest.approx(together / (found["units"] - found["kinds"]["timing"]["units"]))
    assert [one["limit"] for one in found["workers"]] == ["work", "timing", "timing"]


def test_it_says_in_a_line_for_each_number_of_workers_what_limits_them(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    costs = cost_options(**{"original": 600, "retrain": 1200, "unlearn": 60, "unlearn/ct": 120})
    found = tiny_study.harness("plan", study, "--root", tmp_path / "no", "--workers", "1,2", *costs)
    assert found.code == 0, found.err
    lines = [line for line in found.out.splitlines() if line.startswith(("price", "time"))]
    assert lines == [
        "price    about 34 min 00 s of one worker, 0.567 device-hours",
        "time     about 34 min 00 s on 1 worker; the work divided by the workers limits it; "
        "the driver has 6 min 48 s for each unit",
        "time     about 20 min 00 s on 2 workers; what waits for something else limits it: that takes 20 min 00 s on "
        "any number of workers; the driver has 4 min 00 s for each unit",
    ]


def test_what_is_not_stated_comes_from_what_was_measured(tiny: Path, finished: Path, tmp_path: Path) -> None:
    another = tiny_study.write_study(tmp_path, seeds=[7], farm=None, name="another")
    spent = Store.open(str(finished)).scan("units").collect()
    found = planned(another, "--root", finished, "--cost", "unlearn=100")
    counts = {kind: count["units"] for kind, count in found["kinds"].items()}
    means = spent.group_by("kind", "method").agg(pl.col("seconds").mean())
    mean = {(kind, method): seconds for kind, method, seconds in means.rows()}
    expected = mean["original", "original"] + mean["retrain", "retrain"] + 100 * counts["unlearn"]
    expected += sum(mean["timing", method] for method in ("retrain", "finetune", "ct"))
    assert found["worker_seconds"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--workers", "8,x", "'8,x' must be whole numbers above 0, such as 8,64,512"),
        ("--workers", "0", "must be whole numbers above 0"),
        ("--cost", "unlearn", "must be KIND=SECONDS or KIND/METHOD=SECONDS"),
        ("--cost", "unlearn=-3", "must be KIND=SECONDS"),
        ("--cost", "unlaern=3", "is 'unlaern'; did you mean 'unlearn'?"),
        ("--cost", "unlearn/cd=3", "is 'unlearn/cd'; did you mean 'unlearn/ct'?"),
    ],
)
def test_a_wrong_number_is_told(tiny: Path, tmp_path: Path, option: str, value: str, told: str) -> None:
    found = tiny_study.harness("plan", tiny, "--root", tmp_path / "no", option, value)
    assert found.code == 2
    assert told in found.err


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_stops_at_its_device_hours_and_the_same_command_goes_on(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN)
    plan = make_plan(load_study(study))
    command = ["run", study, "--root", tmp_path / "runs", "--local"]
    # The first unit uses it up: nothing else begins.
    first = tiny_study.harness(*command, "--max-device-hours", 1e-9)
    assert first.code == 0, first.err
    (line,) = (line for line in first.out.splitlines() if line.startswith("Stopped"))
    spent = harness.scan(str(tmp_path / "runs"), "units").collect()["seconds"].sum() / 3600
    rest = rf"{len(plan.units) - 1} units left, about \d\S* device-hours and 3 units of which nothing like them ran yet"
    told = re.fullmatch(rf"Stopped with (\S+) device-hours used of 1e-09: {rest}; the same command goes on\.", line)
    assert told is not None, line
    assert spent * 0.99 <= float(told[1]) <= spent + 1 / 3600
    assert len(tiny_study.committed(tmp_path / "runs")) == 1
    second = tiny_study.harness(*command, "--max-device-hours", 100, "--json")
    assert second.code == 0, second.err
    found = json.loads(second.out)
    assert (found["ran"], found["cached"], found["not_tried"]) == ({"done": len(plan.units) - 1}, 1, 0)
    rows = harness.scan(str(tmp_path / "runs"), "units").sort("started").collect()
    assert found["device_hours"] == pytest.approx(rows["seconds"][1:].sum() / 3600, rel=0.5)
    assert "Stopped" not in tiny_study.harness(*command, "--max-device-hours", 100).out


def test_no_hours_are_no_budget(tiny: Path, tmp_path: Path) -> None:
    for hours in ("0", "-1", "nan"):
        found = tiny_study.harness("run", tiny, "--root", tmp_path / "no", "--local", "--max-device-hours", hours)
        assert found.code == 2, hours
    assert not (tmp_path / "no").exists()
