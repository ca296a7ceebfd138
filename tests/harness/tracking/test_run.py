"""A study that really ran: the rows are those that units leave, not those that other tests make up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from polars.testing import assert_frame_equal

from harness.store import Store
from harness.tracking import sync_stored
from harness.tracking.address import Address
from harness.tracking.names import attack_name
from harness.tracking.plan import StoredPlan
from harness.tracking.results import read_results


def test_a_real_study_is_tracked(own: Path, empty_database: Path, tracked: Any) -> None:
    shutil.copy(empty_database, own / "mlflow.db")
    store = Store.open(str(own))
    (report,) = sync_stored(store)
    results = read_results(StoredPlan.of(store.read_plan(report.plan)), store)
    assert results.is_reported
    key = ["group", "metric", "method", "config"]
    assert_frame_equal(results.rankings.sort(key), store.scan("rankings").collect().sort(key))
    real = type(tracked)(Address(f"sqlite:///{own}/mlflow.db", None))
    assert set(real.children) == {"original", "retrain", "finetune", "ct"}
    assert report.created == len(real.runs) == 5
    assert {run.info.status for run in real.runs} == {"FINISHED"}
    run = real.children["ct"]
    assert {"rank/overall", "gap/retention_deviation", "cost/time_ratio"} <= set(run.data.metrics)
    assert set(real.series(run, "seeds/test_accuracy")) == {0, 1}
    assert len(real.series(real.children["retrain"], "epochs/test_accuracy")) > 1
    audit = [row for row in store.scan("attacks").collect().rows(named=True) if row["method"] == "ct"]
    found = {attack_name(row, with_pool=True): row["value"] for row in audit if row["value"] is not None}
    assert found
    assert {name: run.data.metrics[name] for name in found} == found
    given = {row["name"]: row["number"] for row in store.scan("hyperparameters").collect().rows(named=True)}
    assert float(run.data.params["method.momentum"]) == given["momentum"]
