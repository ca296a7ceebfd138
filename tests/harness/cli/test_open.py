"""`harness open`: from a run of MLflow to its trials in the tables, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

from harness.store import Store
from harness.tracking import TrackedRun, find_address, runs_of_plan

CELL = "digits random:0.1 cnn_small finetune default"


@pytest.fixture(scope="module")
def runs(finished: Path) -> dict[str, TrackedRun]:
    """The runs of the tiny study by their cell."""
    return runs_of_plan(find_address(str(finished)), tiny_study.GOLDEN)


def table(root: Path, name: str) -> pl.LazyFrame:
    return Store.open(str(root)).scan(name)


def opened(*arguments: object) -> Any:
    found = tiny_study.harness("open", *arguments, "--json")
    assert (found.code, found.err) == (0, "")
    return json.loads(found.out)


def said(*arguments: object) -> list[list[str]]:
    """Return the words of each line."""
    found = tiny_study.harness("open", *arguments)
    assert (found.code, found.err) == (0, "")
    return [line.split() for line in found.out.splitlines()]


def test_a_run_leads_to_its_trials_and_a_trial_to_its_run(finished: Path, runs: dict[str, TrackedRun]) -> None:
    run = runs[CELL]
    found = opened(run.id, "--root", finished)
    assert (found["run"]["name"], found["plan"], found["cell"]["method"]) == ("finetune", tiny_study.GOLDEN, "finetune")
    units = table(finished, "units").filter(kind="unlearn", method="finetune").collect().sort("seed")
    assert [(one["unit"], one["seed"], one["status"]) for one in found["trials"]] == units.select(
        "unit", "seed", "status"
    ).rows()
    for trial in found["trials"]:
        stored = table(finished, "metrics").filter(unit=trial["unit"], part="test", metric="accuracy")
        assert trial["metrics"]["accuracy_test"] == stored.collect()["value"].item()
        back = opened(trial["unit"][:12], "--root", finished)
        assert (back["unit"], [one["id"] for one in back["runs"]]) == (trial["unit"], [run.id])
        assert back["runs"][0]["path"] == f"/#/experiments/1/runs/{run.id}"
        assert any(run.id in line for line in said(trial["unit"], "--root", finished))


def test_the_text_names_plan_cell_and_the_numbers_of_each_trial(finished: Path, runs: dict[str, TrackedRun]) -> None:
    lines = said(runs[CELL].id[:16], "--root", finished)
    assert ["plan", tiny_study.GOLDEN] in lines
    assert ["cell", *CELL.split()] in lines
    values = {one["unit"]: one["metrics"] for one in opened(runs[CELL].id, "--root", finished)["trials"]}
    for unit, metrics in values.items():
        (line,) = (line for line in lines if line[:1] == [unit])
        assert {f"{metrics[name]:.4f}" for name in ("retention_deviation", "accuracy_test")} <= set(line)


def test_the_run_of_a_plan_leads_to_those_of_its_cells(finished: Path, runs: dict[str, TrackedRun]) -> None:
    found = opened(runs[""].id, "--root", finished)
    assert {one["id"]: one["cell"] for one in found["cells"]} == {run.id: cell for cell, run in runs.items() if cell}
    assert [runs[CELL].id, "FINISHED", *CELL.split()] in said(runs[""].id, "--root", finished)


def test_a_unit_that_is_no_trial_leads_to_its_cell_or_else_to_its_plan(
    finished: Path, runs: dict[str, TrackedRun]
) -> None:
    units = table(finished, "units").collect()
    for kind, cell in (("timing", CELL), ("original", ""), ("shadow", "")):
        unit = units.filter(pl.col("kind") == kind, pl.col("method").is_in(["finetune", "original"])).sort("method")[0]
        back = opened(unit["unit"].item(), "--root", finished)
        assert [one["id"] for one in back["runs"]] == [runs[cell].id], kind


@pytest.mark.parametrize(
    ("id_", "message"),
    [
        ("fffffffffffffff", "no run in .* begins with 'fffffffffffffff'; find it in `harness ui`"),
        ("finetune", "'finetune' is no id; ids of runs and of units are hexadecimal digits"),
        ("", "units begin with ''; give more digits"),
    ],
)
def test_an_unknown_id_is_one_line(finished: Path, id_: str, message: str) -> None:
    found = tiny_study.harness("open", id_, "--root", finished)
    assert (found.code, found.out) == (2, "")
    (line,) = found.lines
    assert pl.Series([line]).str.contains(message).item(), line


def test_the_root_of_another_study_does_not_know_the_run(
    finished: Path, tmp_path: Path, runs: dict[str, TrackedRun]
) -> None:
    uri = find_address(str(finished)).uri
    found = tiny_study.harness("open", runs[CELL].id, "--root", tmp_path, "--tracking-uri", uri)
    assert (found.code, found.out) == (2, "")
    assert f"of plan {tiny_study.GOLDEN}, which is not in {tmp_path}; name its root with --root" in found.err


def test_a_root_without_mlflow_stays_without_one(finished: Path, tmp_path: Path) -> None:
    found = tiny_study.harness("open", "0123456789abcdef", "--root", tmp_path)
    assert (found.code, list(tmp_path.iterdir())) == (2, [])
    unit = table(finished, "units").filter(kind="unlearn").collect()["unit"][0]
    uri = f"sqlite:///{tmp_path}/none.db"
    assert ["not", "in", "MLflow", "yet:", "harness", "sync", tiny_study.GOLDEN] in said(
        unit, "--root", finished, "--tracking-uri", uri
    )
    assert list(tmp_path.iterdir()) == []
