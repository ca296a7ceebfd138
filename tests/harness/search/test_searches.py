"""Whole searches through the driver: what runs is what was suggested, the best is taken, a killed one goes on alike."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
import torch
from polars.testing import assert_frame_equal
from torch import nn

import harness
from harness.check import problem
from harness.contracts import DATASETS, FORGET, Run, View, method, ranges
from harness.ledger import Silent, Summary
from harness.planner import Plan, make_plan
from harness.search.objectives import MEASURED
from harness.search.results import Results
from harness.search.searches import Searches
from harness.search.stream import streams_of
from harness.search.table import search_rows
from harness.store import KEYS, Store
from harness.study import load_study
from harness.unit import Kind, Unit
from harness.work.unit import Status

pytestmark = pytest.mark.usefixtures("declaring")

SEARCH: dict[str, Any] = {"trials": 8, "sampler": "nsga3", "seeds": 2, "select": "mean", "population": 4}
README = (Path(harness.__file__).parents[1] / "README.md").read_text()
BAD = 0.85
"""Above it the shaken method raises."""


@pytest.fixture(autouse=True)
def shaken(declaring: None) -> None:
    """A method that adds noise to the last layer: the less, the better. Too much is an error."""

    class Shaken:
        """Add noise."""

        sigma: float = ranges.uniform(0, 1, default=0.5)
        seed: int = ranges.integer(0, 100, default=0)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            if self.sigma > BAD:
                raise ValueError("too much")
            noise = torch.Generator().manual_seed(self.seed)
            with torch.no_grad():
                for parameter in list(model.parameters())[-2:]:
                    parameter.add_(self.sigma * torch.randn(parameter.shape, generator=noise))
            return model

    method(reads={FORGET}, source="a test")(Shaken)
    DATASETS.declare(problem.SPEC)


def study(folder: Path, **changes: Any) -> Path:
    own = {"datasets": ["tiny"], "scenarios": ["random:0.3"], "methods": ["shaken"], "seeds": 2, "search": SEARCH}
    return tiny_study.write_study(folder, tiny_study.PLAIN, **own | changes)


def run(path: Path, root: Path, **arguments: Any) -> Summary:
    return harness.run(path, str(root), views=lambda plan, store: None, **arguments)


def plan_of(path: Path) -> Plan:
    return make_plan(load_study(path))


def table(root: Path, name: str) -> pl.DataFrame:
    frame = harness.scan(str(root), name).collect().sort(KEYS[name])
    return frame.drop(*tiny_study.PASSING, "hyperparameters", strict=False)


class Killer(Silent):
    """Interrupts a run after so many ends."""

    def __init__(self, ends: int) -> None:
        self.ends = ends

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        self.ends -= 1
        if self.ends == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("select", ["mean", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, select: str) -> None:
    path = study(tmp_path, search=SEARCH | {"select": select})
    run(path, tmp_path / "whole")
    kills = (10, 6)  # in the first generation; in the second, or in the choice
    for ends in kills:
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "killed", progress=Killer(ends))
    run(path, tmp_path / "killed")
    for name in ("units", "hyperparameters", "metrics"):
        whole, killed = (table(tmp_path / root, name) for root in ("whole", "killed"))
        assert_frame_equal(whole, killed)
    drawn = table(tmp_path / "whole", "hyperparameters").filter(kind="search", name="sigma")
    assert drawn["number"].n_unique() > 2

    plan, store = plan_of(path), Store.open(str(tmp_path / "whole"))
    _the_best_was_taken(plan, store)
    _the_table_agrees(plan, store)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that were read, in order."""
    looks: list[str] = []
    scan = Store.scan

    def counted(store: Store, table: str) -> pl.LazyFrame:
        looks.append(table)
        return scan(store, table)

    monkeypatch.setattr(Store, "scan", counted)
    return looks


def test_a_run_looks_at_the_tables_at_most_once(tmp_path: Path, looks: list[str]) -> None:
    """Of two streams of two generations: at 50,000 units, each look takes seconds. A new root needs none."""
    path = study(tmp_path, search=SEARCH | {"select": "reference"})
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "runs", progress=Killer(20))
    assert not looks
    run(path, tmp_path / "runs")
    assert looks == ["metrics", "hyperparameters"]


def test_what_another_driver_folded_is_read_from_the_tables_and_once(tmp_path: Path, looks: list[str]) -> None:
    run(study(tmp_path), tmp_path / "runs")
    units = [unit.id for unit in plan_of(study(tmp_path)).units.values() if unit.kind == Kind.RETRAIN]
    results = Results(Store.open(str(tmp_path / "runs")), frozenset(units))
    looks.clear()
    for unit in units:
        results.note(unit, done=True)
    measured = results.measured(units)
    assert looks == ["metrics", "hyperparameters"]
    assert [metrics.keys() for metrics in measured] == [MEASURED.keys()] * len(units)
    assert results.measured([*units, "unknown"]) == [*measured, {}]
    assert results.settings(["unknown"]) == [[]]
    assert looks == ["metrics", "hyperparameters"] * 2


def _the_best_was_taken(plan: Plan, store: Store) -> None:
    """Recomputed from the raw tables: no trial has a smaller norm than the one whose values the others ran with."""
    metrics = {
        (row["unit"], row["metric"], row["part"]): row["value"] for row in store.scan("metrics").collect().to_dicts()
    }
    retrain = {unit.seed: unit.id for unit in plan.units.values() if unit.kind == Kind.RETRAIN}
    values = {row["unit"]: json.loads(row["hyperparameters"]) for row in store.scan("units").collect().to_dicts()}
    committed = store.committed()
    objectives: dict[tuple[Any, int], list[list[float]]] = {}
    tried: dict[tuple[Any, int], dict[str, Any]] = {}
    for unit in plan.units.values():
        if unit.kind != Kind.SEARCH or unit.id not in committed:
            continue
        gaps = [
            abs(metrics[unit.id, "accuracy", part] - metrics[retrain[unit.seed], "accuracy", part]) / 3
            for part in ("retain", "forget", "val")
        ]
        key = (unit.origin.seeds, unit.origin.number)  # type: ignore[union-attr]
        objectives.setdefault(key, []).append([*gaps, abs(2 * metrics[unit.id, "population_mia", "val"] - 1)])
        tried[key] = values[unit.id]
    norms = {
        key: math.hypot(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
        for key, rows in objectives.items()
        if len(rows) == len(key[0])
    }
    assert len(norms) > 1
    best = min(norms, key=lambda key: norms[key])
    finals = [unit for unit in plan.units.values() if unit.kind == Kind.UNLEARN and unit.method.name == "shaken"]
    assert len(finals) == 2
    for unit in finals:
        assert values[unit.id] == tried[best]
        found = Searches(plan.units.values(), store).best(unit)
        assert found is not None
        assert (found.stream.seeds, found.number) == best
        assert found.norm == pytest.approx(norms[best])
        assert found.stream in streams_of(unit)


def _the_table_agrees(plan: Plan, store: Store) -> None:
    rows = search_rows(plan.units, "plain", store)
    trials = {unit.id for unit in plan.units.values() if unit.kind == Kind.SEARCH}
    assert set(rows["unit"]) == trials & store.committed()
    chosen = rows.filter("chosen")
    assert chosen["norm"].unique().to_list() == [rows["norm"].min()]
    assert chosen["seed"].to_list() == [int(seed) for seed in chosen["seeds"][0].split(",")]


def test_a_trial_sees_no_test_image_and_leaves_no_curve(tmp_path: Path) -> None:
    path = study(tmp_path, search=SEARCH | {"trials": 2, "sampler": "random", "seeds": 1})
    run(path, tmp_path / "runs")
    of_search = pl.col("kind") == "search"
    metrics = harness.scan(str(tmp_path / "runs"), "metrics").filter(of_search).collect()
    assert set(metrics["part"]) == {"retain", "forget", "val"}
    for name in ("epochs", "signals"):
        assert harness.scan(str(tmp_path / "runs"), name).filter(of_search).collect().is_empty()


def test_a_search_that_grows_runs_what_is_new(tmp_path: Path) -> None:
    small = study(tmp_path, search=SEARCH | {"trials": 3})
    run(small, tmp_path / "runs")
    before = {unit.id for unit in plan_of(small).units.values() if unit.kind == Kind.SEARCH}
    grown = study(tmp_path, search=SEARCH)
    after = {unit.id for unit in plan_of(grown).units.values() if unit.kind == Kind.SEARCH}
    assert before < after
    summary = run(grown, tmp_path / "runs")
    assert sum(summary.ran.values()) >= len(after - before)


def test_a_search_without_a_usable_trial_is_a_failed_row_and_the_rest_is_done(tmp_path: Path) -> None:
    class Hopeless:
        """Raise."""

        rate: float = ranges.uniform(0, 1, default=0.5)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            raise RuntimeError("never")

    method(reads={FORGET}, source="a test")(Hopeless)
    path = study(tmp_path, methods=["hopeless", "shaken"], search=SEARCH | {"trials": 2, "seeds": 1})
    summary = run(path, tmp_path / "runs")
    assert summary.not_tried == 0
    failures = harness.scan(str(tmp_path / "runs"), "failures").collect()
    final = failures.filter((pl.col("kind") == "unlearn") & (pl.col("method") == "hopeless"))
    assert final["exception"].to_list() == ["NoUsableTrial"] * 2
    told = "no trial of the search (2 suggestions of nsga3 on 1 seed) is usable; see the failures of its units"
    assert set(final["message"]) == {told}
    done = harness.scan(str(tmp_path / "runs"), "units").filter(pl.col("kind") == "unlearn", status="done").collect()
    assert set(done["method"]) == {"shaken", "original"}


@pytest.mark.usefixtures("without_mlflow")
def test_screen_table_and_page_speak_of_a_search(tmp_path: Path) -> None:
    farm = {"shadows": 10, "pools": {"clean": {"size": 16}}}
    path = study(tmp_path, search=SEARCH | {"seeds": 1}, farm=farm, measures=["accuracy", "ulira"])
    root = tmp_path / "runs"
    answer = tiny_study.harness("run", path, "--root", root, "--local")
    assert answer.code == 1, "some trials failed, and are named"
    header, row = (
        next(line for line in answer.out.splitlines() if word in line) for word in ("U-LiRA clean", " shaken ")
    )
    assert re.match(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]", row[header.index("U-LiRA clean") :])
    assert "failed: search shaken (suggestion=" in answer.err + answer.out
    assert "the report could not be written" not in answer.out
    page = (root / "reports" / "plain" / "index.html").read_text()
    assert "ValueError: too much" in page
    assert "suggestion=" not in page, "the trials of a search are told together"
    asked = tiny_study.harness("query", DOCUMENTED, "--root", root, "--format", "json")
    assert asked.code == 0, asked.err
    rows = json.loads(asked.out)
    assert {(row["method"], row["name"]) for row in rows} == {("shaken", "seed"), ("shaken", "sigma")}
    assert rows[1]["value"] <= BAD


DOCUMENTED = re.search(r"-- harness query: which hyperparameters gave this\?\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]


def test_what_a_study_gives_stays_and_the_rest_is_searched(tmp_path: Path) -> None:
    methods = [{"shaken": {"sigma": 0.25}}, {"shaken": {"sigma": 0.5, "seed": 3}}]
    path = study(tmp_path, methods=methods, search=SEARCH | {"trials": 2, "sampler": "random", "seeds": 1}, seeds=1)
    run(path, tmp_path / "runs")
    rows = harness.scan(str(tmp_path / "runs"), "units").filter(pl.col("method") == "shaken").collect()
    searched = {row["config"]: json.loads(row["hyperparameters"]) for row in rows.to_dicts()}
    assert set(searched) == {
        *("sigma=0.25,suggestion=0", "sigma=0.25,suggestion=1"),
        *("sigma=0.25,search:random:2x1:mean", "seed=3,sigma=0.5"),
    }
    assert {values["sigma"] for config, values in searched.items() if "0.25" in config} == {0.25}
    assert searched["seed=3,sigma=0.5"] == {"sigma": 0.5, "seed": 3}
