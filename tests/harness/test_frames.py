"""The tables as frames: whole, of some units, and every metric of every trial."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import tiny_study
from polars.testing import assert_frame_equal

import harness
from harness.frames import of_units, trials
from harness.metrics import frame as definitions
from harness.planner import make_plan
from harness.store import KEYS, SCHEMAS, Store
from harness.study import load_study

COLUMNS = ["dataset", "scenario", "architecture", "method", "config", "seed", "status", "metric", "value", "flag"]


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_every_table_is_scanned_with_its_columns_and_a_unique_key(finished: Path, tmp_path: Path, table: str) -> None:
    rows = harness.scan(table, str(finished)).collect()
    assert rows.columns == SCHEMAS[table].names
    assert not rows.select(KEYS[table]).is_duplicated().any()
    empty = harness.scan(table, str(tmp_path / "no")).collect()
    assert (empty.columns, len(empty)) == (rows.columns, 0)
    assert not (tmp_path / "no").exists()


def test_the_root_is_that_of_the_environment(
    finished: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert harness.scan("units").collect().is_empty()
    monkeypatch.setenv("HARNESS_ROOT", str(finished))
    assert len(harness.scan("units").collect()) == 48
    assert_frame_equal(harness.results(str(tiny)), harness.results(str(tiny), str(finished)))


def test_rows_of_some_units_are_theirs_alone(finished: Path) -> None:
    store = Store.open(str(finished))
    units = store.scan("units").collect()["unit"].to_list()[:5]
    for table in ("units", "metrics", "signals", "epochs"):
        whole = store.scan(table).collect()
        wanted = [row for row in whole.sort(KEYS[table]).iter_rows() if row[0] in units]
        assert of_units(store, table, units).sort(KEYS[table]).rows() == wanted
    assert of_units(store, "metrics", []).is_empty()


def test_results_have_one_row_for_each_trial_and_metric(tiny: Path, finished: Path) -> None:
    results = harness.results(load_study(tiny), str(finished))
    assert results.columns == COLUMNS
    assert not results.select(*COLUMNS[:6], "metric").is_duplicated().any()
    assert set(results["metric"]) <= set(definitions()["metric"])
    trials = results.select("method", "seed").unique().sort("method", "seed").rows()
    assert trials == [(name, seed) for name in ("ct", "finetune", "original", "retrain") for seed in (0, 1)]
    assert results.filter(pl.col("value").is_null() & pl.col("flag").is_null()).is_empty()
    units = harness.scan("metrics", str(finished)).filter(kind="unlearn", part="test", metric="accuracy").collect()
    derived = results.filter(metric="accuracy_test").filter(pl.col("method") != "retrain")
    key = ["method", "seed"]
    assert_frame_equal(derived.select(*key, "value").sort(key), units.select(*key, "value").sort(key))


def test_results_are_those_of_the_study_alone(own: Path, tmp_path: Path) -> None:
    wider = tiny_study.write_study(tmp_path, seeds=[0, 5], methods=["ct"], farm=None)
    harness.run(wider, str(own), views=lambda plan, store: None)
    results = harness.results(str(wider), str(own))
    assert set(results.select("method", "seed").rows()) == {
        (name, seed) for name in ("ct", "original", "retrain") for seed in (0, 5)
    }
    plan = make_plan(load_study(wider))
    assert_frame_equal(trials(Store.open(str(own)), plan.units), results)
