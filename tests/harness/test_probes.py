"""A study that probes its models, in one process: rows, page, weights, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

import harness
from harness.metrics import COMPOSITE_METRICS, COST_METRICS, EFFICACY_RATIO, IMAGES_RATIO, PROBE_METRICS, derive
from harness.report.statements import of_values
from harness.store import Store
from harness.unit import Kind

TOO_FEW = {"relearn_accuracy_50", "relearn_accuracy_100"}
"""What 51 forget images have no number for."""
STUDY: dict[str, Any] = {
    **tiny_study.PLAIN,
    "datasets": ["digits@600"],
    "methods": ["ct", "gradient_ascent"],
    "scenarios": ["class:3"],
    "measures": ["accuracy", "probes", "run_time"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), STUDY)


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the study ran, with ranking and report."""
    root = tmp_path_factory.mktemp("probed") / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    return root


def test_every_trial_has_its_numbers_and_retrains_are_among_them(root: Path) -> None:
    probes = Store.open(str(root)).scan("units").filter(kind="probe").collect()
    assert sorted(probes["method"]) == ["ct", "gradient_ascent", "original", "retrain"]
    rows = harness.results(str(root), "plain").filter(pl.col("method") != "gradient_ascent")
    wanted = [*PROBE_METRICS, EFFICACY_RATIO, *COST_METRICS, *COMPOSITE_METRICS]
    null = rows.select(pl.col(wanted).is_null().all()).to_dicts()[0]
    assert {name for name, is_null in null.items() if is_null} <= TOO_FEW
    by = {row["method"]: row for row in rows.to_dicts()}
    assert by["retrain"][EFFICACY_RATIO] == by["retrain"][IMAGES_RATIO] == by["retrain"]["tow"] == 1
    assert by["retrain"]["relearn_accuracy_0"] == by["retrain"]["accuracy_forget"] == 0  # never seen
    assert by["original"][IMAGES_RATIO] == by["original"]["optimiser_steps"] == 0
    assert by["ct"]["images_seen_retain"] > 0 == by["ct"]["images_seen_forget"]
    assert by["retrain"]["optimiser_steps"] == by["retrain"]["steps"]


def test_it_is_on_the_page_and_not_ranked(root: Path) -> None:
    page = (root / "reports" / "plain" / "index.html").read_text("utf-8")
    for anchor in ("probes", "costs", "composites"):
        assert f'id="{anchor}"' in page
    assert "images / retrain" in page
    ranked = Store.open(str(root)).scan("rankings").collect()
    assert set(ranked["metric"]).isdisjoint({*PROBE_METRICS, EFFICACY_RATIO, *COST_METRICS, *COMPOSITE_METRICS})


@pytest.mark.parametrize(
    "metrics", [(*PROBE_METRICS, EFFICACY_RATIO), (*COST_METRICS, IMAGES_RATIO), COMPOSITE_METRICS]
)
def test_the_command_for_the_numbers_prints_what_they_come_from(root: Path, metrics: tuple[str, ...]) -> None:
    store = Store.open(str(root))
    units, stored = (store.scan(name).collect() for name in ("units", "metrics"))
    trials = derive(units, stored)
    sql = of_values("plain", trials, metrics).removeprefix('harness query "').removesuffix('"')
    rows = harness.query(str(root), sql)
    drawn = pl.col("metric").is_in(metrics)
    again = derive(units, rows.select("unit", "part", "metric", "value"))
    assert again.filter(drawn).equals(trials.filter(drawn))
    assert len(rows) < len(stored)


def test_a_second_run_does_nothing_and_the_weights_of_trials_are_gone(study: Path, root: Path) -> None:
    where = harness.drive.Where()
    again = harness.drive.run(study, str(root), where=where, views=lambda plan, store: None)
    assert (again.ran, again.complete, again.cached) == ({}, True, len(again.plan.units))
    store = Store.open(str(root))
    assert {unit.kind for unit in again.plan.units.values() if store.has_model(unit.id)} == {Kind.ORIGINAL}
