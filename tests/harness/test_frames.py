"""Rows of some units, and every metric of every trial."""

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
from harness.store import KEYS, Store
from harness.study import load_study

COLUMNS = ["dataset", "scenario", "architecture", "method", "config", "seed", "status", "metric", "value", "flag"]


def of_study(study: Path, root: Path) -> pl.DataFrame:
    return trials(Store.open(str(root)), make_plan(load_study(study)).units)


@pytest.mark.parametrize("few", [0, 1_000])
def test_rows_of_some_units_are_theirs_alone(few: int, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.frames.FEW_UNITS", few)
    store = Store.open(str(finished))
    units = store.scan("units").collect()["unit"].to_list()[:5]
    for table in ("units", "metrics", "signals", "epochs"):
        whole = store.scan(table).collect()
        wanted = [row for row in whole.sort(KEYS[table]).iter_rows() if row[0] in units]
        assert of_units(store, table, units).sort(KEYS[table]).rows() == wanted
    assert of_units(store, "metrics", []).is_empty()


def test_trials_have_one_row_for_each_metric(tiny: Path, finished: Path) -> None:
    found = of_study(tiny, finished)
    assert found.columns == COLUMNS
    assert not found.select(*COLUMNS[:6], "metric").is_duplicated().any()
    assert set(found["metric"]) <= set(definitions()["metric"])
    ran = found.select("method", "seed").unique().sort("method", "seed").rows()
    assert ran == [(name, seed) for name in ("ct", "finetune", "original", "retrain") for seed in (0, 1)]
    assert found.filter(pl.col("value").is_null() & pl.col("flag").is_null()).is_empty()
    stored = harness.scan(str(finished), "metrics").filter(kind="unlearn", part="test", metric="accuracy").collect()
    derived = found.filter(metric="accuracy_test").filter(pl.col("method") != "retrain")
    key = ["method", "seed"]
    assert_frame_equal(derived.select(*key, "value").sort(key), stored.select(*key, "value").sort(key))


def test_trials_are_those_of_the_study_alone(own: Path, tmp_path: Path) -> None:
    wider = tiny_study.write_study(tmp_path, seeds=[0, 5], methods=["ct"], farm=None)
    harness.run(wider, str(own), views=lambda plan, store: None)
    assert set(of_study(wider, own).select("method", "seed").rows()) == {
        (name, seed) for name in ("ct", "original", "retrain") for seed in (0, 5)
    }
