"""A study that asks how like its retrains its models are, in one process: rows, page, weights, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

import harness
from harness.ledger import Silent, Summary
from harness.metrics import LIKENESS_METRICS, derive
from harness.planner import make_plan
from harness.report.statements import of_values
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind, Unit
from harness.work.unit import Status

STUDY: dict[str, Any] = {
    **tiny_study.PLAIN,
    "datasets": ["digits@600"],
    "methods": ["ct"],
    "seeds": 2,
    "measures": ["accuracy", "likeness"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), STUDY)


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the study ran, with ranking and report."""
    root = tmp_path_factory.mktemp("compared") / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    (root / "screen.txt").write_text(answer.out)
    return root


def run(study: Path, root: Path, progress: Silent | None = None) -> Summary:
    """Run a study without ranking and report."""
    where = harness.drive.Where()
    return harness.drive.run(study, str(root), where=where, views=lambda plan, store: None, progress=progress)


def test_every_trial_has_its_numbers_and_retrain_the_floor(root: Path) -> None:
    compared = Store.open(str(root)).scan("units").filter(kind="compare").collect()
    assert sorted(compared["method"]) == 2 * ["ct"] + 2 * ["original"] + 2 * ["retrain"]
    rows = harness.results(str(root), "plain")
    assert rows.select(pl.col(LIKENESS_METRICS).is_null().any()).row(0) == (False,) * len(LIKENESS_METRICS)
    mean = {row["method"]: row for row in rows.group_by("method").agg(pl.col(LIKENESS_METRICS).mean()).to_dicts()}
    assert 0 < mean["retrain"]["js_divergence_test"] < 0.7
    assert 0 < mean["retrain"]["completeness_test"] < 1
    assert mean["retrain"]["layer_distance"] > mean["original"]["layer_distance"]  # another seed, other first weights
    assert mean["original"]["churn_retain"] == 0 < mean["retrain"]["churn_retain"]
    assert set(rows["images_per_feature_test"]) == {rows["images_per_feature_test"][0]}


def test_it_is_on_the_page_with_the_floor_and_neither_ranked_nor_on_the_screen(root: Path) -> None:
    page = (root / "reports" / "plain" / "index.html").read_text("utf-8")
    assert 'id="likeness"' in page
    assert "retrain: the floor" in page
    assert page.count("JS (forget)") > 1
    assert "JS (" not in (root / "screen.txt").read_text()
    ranked = Store.open(str(root)).scan("rankings").collect()
    assert set(ranked["metric"]).isdisjoint(LIKENESS_METRICS)


def test_the_command_below_a_figure_prints_what_the_numbers_come_from(root: Path) -> None:
    store = Store.open(str(root))
    units, metrics = (store.scan(name).collect() for name in ("units", "metrics"))
    trials = derive(units, metrics)
    sql = of_values("plain", trials, LIKENESS_METRICS).removeprefix('harness query "').removesuffix('"')
    rows = harness.query(str(root), sql)
    drawn = pl.col("metric").is_in(LIKENESS_METRICS)
    again = derive(units, rows.select("unit", "part", "metric", "value"))
    assert again.filter(drawn).equals(trials.filter(drawn))
    assert set(rows["kind"]) == {"compare"}


def test_a_second_run_does_nothing(study: Path, root: Path) -> None:
    again = run(study, root)
    assert (again.ran, again.complete, again.cached) == ({}, True, len(again.plan.units))
    store = Store.open(str(root))
    assert {unit.kind for unit in again.plan.units.values() if store.has_model(unit.id)} == {Kind.ORIGINAL}


def test_weights_are_there_until_the_last_comparison_and_those_of_methods_no_longer_than_one(tmp_path: Path) -> None:
    asked = ["accuracy", "likeness", "mia_trio"]
    study = tiny_study.write_study(tmp_path, STUDY, seeds=3, measures=asked)
    root, plan = tmp_path / "runs", make_plan(load_study(study))
    store = Store.open(str(root))
    kept: list[int] = []
    retrains: list[set[int]] = []

    class Watching(Silent):
        def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
            there = [one for one in plan.units.values() if store.has_model(one.id)]
            kept.append(sum(one.kind == Kind.UNLEARN for one in there))
            retrains.append({one.seed for one in there if one.kind == Kind.RETRAIN})
            if unit.kind == Kind.COMPARE:
                assert all(store.has_model(need) for need in unit.needs)

    assert run(study, root, Watching()).complete
    assert max(kept) == 1
    # The first until the last seed's is held against it; each other one during its own seed and that before.
    assert retrains[-1] == {2}
    assert max(map(len, retrains)) == 3
    assert not any(store.has_model(one.id) for one in plan.units.values() if one.kind != Kind.ORIGINAL)


def test_one_seed_has_numbers_and_no_floor(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY, seeds=1), tmp_path / "runs"
    assert run(study, root).complete
    store = Store.open(str(root))
    trials = derive(*(store.scan(name).collect() for name in ("units", "metrics")))
    rows = trials.filter(pl.col("metric").is_in(["zrf_forget", "zrf_gap_forget"]))
    assert set(rows.filter(method="retrain")["flag"]) == {"not measured"}
    assert rows.filter(method="ct")["value"].null_count() == 0
