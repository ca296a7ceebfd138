"""MLflow says what the tables say: once, in place, and again after it was deleted."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from harness.metrics import derive, frame
from harness.ranking import rank_study
from harness.store import Store
from harness.tracking import NoSuchStudy, TrackingUnavailable, database, runs, sync, sync_stored
from harness.tracking.names import metric_name, rank_name, series_name
from harness.tracking.plan import StoredPlan

CELL = (("digits", "random:0.1", "cnn_small"),)


def dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return list(connection.iterdump())


def ranking(root: Any) -> pl.DataFrame:
    values = derive(root.table("units"), root.table("metrics"))
    return rank_study(values, study=root.study, classes={"digits": 10})


def test_one_experiment_one_parent_one_child_for_each_cell(toy: Any, tracked: Any) -> None:
    (parent,) = tracked.parents
    assert parent.info.run_name == toy.plan
    assert set(tracked.children) == set(toy.methods)
    assert {run.data.tags["mlflow.parentRunId"] for run in tracked.children.values()} == {parent.info.run_id}
    assert {run.info.experiment_id for run in tracked.runs} == {tracked.experiments["toy"].experiment_id}
    assert {run.info.status for run in tracked.runs} == {"FINISHED"}
    references = {name for name, run in tracked.children.items() if run.data.tags.get("reference") == "true"}
    assert references == {"retrain", "original"}


def test_every_number_of_the_ranking_is_a_metric(toy: Any, tracked: Any) -> None:
    for row in ranking(toy).iter_rows(named=True):
        metrics = tracked.children[row["method"]].data.metrics
        name, rank = metric_name(row["metric"]), rank_name(row["metric"])
        columns = {name: "value", f"{name}_ci_low": "low", f"{name}_ci_high": "high"}
        columns |= {rank: "rank", f"{rank}_ci_low": "rank_low", f"{rank}_ci_high": "rank_high"}
        assert {name: metrics.get(name) for name in columns} == {name: row[c] for name, c in columns.items()}


def test_every_trial_is_a_point_and_the_metric_is_their_mean(toy: Any, tracked: Any) -> None:
    trials = derive(toy.table("units"), toy.table("metrics")).filter(pl.col("value").is_not_null())
    for (method, metric), rows in trials.group_by("method", "metric"):
        run = tracked.children[method]
        assert tracked.series(run, series_name("seeds", metric_name(metric))) == dict(
            rows.select("seed", "value").iter_rows()
        )
        assert run.data.metrics[metric_name(metric)] == pytest.approx(np.mean(rows["value"].to_list()), abs=1e-11)


def test_curves_are_means_over_seeds(toy: Any, tracked: Any) -> None:
    epochs = toy.table("epochs").filter(pl.col("method") == "msg", pl.col("kind") == "unlearn")
    for column, name in (("loss", "loss"), ("forget", "forget_accuracy")):
        means = {epoch: rows[column].mean() for (epoch,), rows in epochs.group_by("epoch")}
        assert tracked.series(tracked.children["msg"], f"epochs/{name}") == pytest.approx(means)


def test_parameters_say_what_was_asked(toy: Any, tracked: Any) -> None:
    params = tracked.children["msg"].data.params
    assert params["config"] == "lr=0.02"
    assert params["seeds"] == "0, 1, 2"
    assert (params["method.lr"], params["method.mask"]) == ("0.1", "none")
    assert params["recipe.lr"] == "0.05"


def test_data_are_inputs_with_the_digest_of_the_split(toy: Any, tracked: Any) -> None:
    (data,) = StoredPlan.of(toy.document).data
    for run in tracked.runs:
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", data.digest)
        assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "random:0.1")]
        assert json.loads(given.dataset.source)["dataset"]["digest"] == "3f" * 32


def test_tags_lead_to_the_tables_and_say_what_made_the_numbers(toy: Any, tracked: Any) -> None:
    for name, run in tracked.children.items():
        trials = run.data.tags["harness.trials"].split(", ")
        units = toy.table("units").filter(pl.col("unit").is_in(trials)).sort("seed")
        assert trials == units["unit"].to_list()
        assert (set(units["method"]), units["seed"].to_list()) == ({name}, [0, 1, 2])
    for run in tracked.runs:
        tags = run.data.tags
        assert (tags["harness.plan"], tags["version.torch"], tags["version.numpy"]) == (toy.plan, "2.13.0", "2.4.6")
        assert tags["mlflow.source.git.commit"] == "c0ffee", "that of the units, whoever writes MLflow"


@pytest.mark.slow
def test_versions_that_are_no_longer_true_go(make_root: Any) -> None:
    root = make_root(seeds=(0,)).commit()
    root.commit(root.choose(kind="unlearn", method="msg"), attempt=2, torch="2.12.0")
    assert root.sync().children["msg"].data.tags["version.torch"] == "2.12.0, 2.13.0"
    root.commit(root.choose(kind="unlearn", method="msg"), attempt=3)
    assert root.sync().children["msg"].data.tags["version.torch"] == "2.13.0"


def test_runs_with_names_of_another_layout_give_way(make_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(seeds=(0,), methods={"retrain": "default"}).commit()
    with monkeypatch.context() as patch:
        patch.setattr(runs, "LAYOUT", "1")
        patch.setattr("harness.tracking.numbers.metric_name", lambda metric: metric)
        before = root.sync()
    after = root.sync()
    assert "accuracy_test" in before.children["retrain"].data.metrics
    assert not [name for name in after.children["retrain"].data.metrics if "/" not in name]
    assert {run.info.run_id for run in before.runs}.isdisjoint({run.info.run_id for run in after.runs})
    assert root.sync().said() == after.said()


def test_times_are_those_of_the_units(toy: Any, tracked: Any) -> None:
    units = toy.table("units").filter(pl.col("method") == "ct")
    run = tracked.children["ct"].info
    assert run.start_time == units["started"].min().timestamp() * 1000
    assert run.end_time == (units["started"].max().timestamp() + 4.5) * 1000


def test_every_metric_of_a_run_is_explained(tracked: Any) -> None:
    defined = set(map(metric_name, frame()["metric"]))
    note = tracked.children["msg"].data.tags["mlflow.note.content"]
    shown = {name for name in tracked.children["msg"].data.metrics if name in defined}
    assert len(shown) > 10
    assert all(f"`{name}`" in note for name in shown)
    assert all(f"`{name}`" in note for name in ("_ci_low", "_ci_high", "seeds/…", "epochs/…", "rank/…"))


def test_a_second_sync_writes_nothing(toy: Any) -> None:
    before = dump(toy.path / "mlflow.db")
    report = sync(toy.document, toy.store)
    assert (report.created, report.updated, report.unchanged) == (0, 0, 1 + len(toy.methods))
    assert dump(toy.path / "mlflow.db") == before


def test_a_deleted_database_is_rebuilt(make_root: Any, empty_database: Path) -> None:
    root = make_root(seeds=(0, 1)).commit()
    before = root.sync().said()
    shutil.copy(empty_database, root.path / "mlflow.db")
    shutil.rmtree(root.path / "mlartifacts")
    assert root.sync().said() == before


@pytest.mark.slow
@pytest.mark.parametrize("order", range(2))
def test_any_history_ends_as_one_sync_of_the_last_state(make_root: Any, order: int) -> None:
    """Partial, failed, repeated, changed and vanished results: what counts is what the tables hold."""
    root, fresh = make_root(), make_root("fresh")
    random.Random(order).shuffle(units := list(root.units))
    third = len(units) // 3
    first = root.commit(units[:third]).sync().runs
    root.fail(units[third : third + 4]).sync()
    root.commit(units[third:], attempt=2).sync()
    root.commit(root.choose(kind="unlearn", method="ct"), attempt=3, shift=0.05, null=("population_mia",))
    last = root.sync()
    fresh.commit(units[:third]).fail(units[third : third + 4]).commit(units[third:], attempt=2)
    fresh.commit(root.choose(kind="unlearn", method="ct"), attempt=3, shift=0.05, null=("population_mia",))
    assert last.said() == fresh.sync().said()
    assert {run.info.run_id for run in first} <= {run.info.run_id for run in last.runs}
    assert math.isnan(last.children["ct"].data.metrics["mia/population_val"])


@pytest.mark.slow
@pytest.mark.parametrize("calls", [0, 7])
def test_a_sync_that_broke_off_is_completed(make_root: Any, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    root = make_root(seeds=(0, 1)).commit()
    log_batch, made = MlflowClient.log_batch, count()

    def breaks(client: MlflowClient, *args: Any, **options: Any) -> None:
        if next(made) >= calls:
            raise MlflowException("gone")
        log_batch(client, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", breaks)
        patch.setattr(runs, "BATCH", 40)
        with pytest.raises(TrackingUnavailable, match=r"MLflow at .*: gone; `harness ui`"):
            sync(root.document, root.store)
    fresh = make_root("fresh", seeds=(0, 1)).commit()
    assert root.sync().said() == fresh.sync().said()


def test_a_failed_unit_fails_its_cell_until_it_is_repeated(make_root: Any) -> None:
    root = make_root()
    (broken,) = root.choose(kind="unlearn", method="ct", seed=1)
    root.commit(unit for unit in root.units if unit != broken).fail([broken], "out of\n memory <b>" + "x" * 9000)
    before = root.sync()
    failed = before.children["ct"]
    assert failed.info.status == before.parents[0].info.status == "FAILED"
    assert f"unlearn ct, seed 1 ({broken['id']}): RuntimeError: out of memory <b>x" in failed.data.tags["failed"]
    assert before.children["msg"].info.status == "FINISHED"
    assert set(before.series(failed, "seeds/test_accuracy")) == {0, 2}
    assert before.parents[0].data.metrics["units/failed"] == 1
    after = root.commit([broken], attempt=2).sync()
    assert after.children["ct"].info.run_id == failed.info.run_id
    assert {run.info.status for run in after.runs} == {"FINISHED"}
    assert "failed" not in after.children["ct"].data.tags | after.parents[0].data.tags


@pytest.mark.slow
def test_a_cell_that_waits_is_scheduled_and_its_parent_counts_it(make_root: Any) -> None:
    root = make_root()
    root.commit(unit for unit in root.units if unit["seed"] == 0)
    tracked = root.sync()
    assert {run.info.status for run in tracked.runs} == {"SCHEDULED"}
    assert tracked.parents[0].data.metrics["units/waiting"] == 2 * tracked.parents[0].data.metrics["units/done"]
    # A single seed has no interval, and means over seeds are not drawn before they are final.
    names = set(tracked.children["msg"].data.metrics)
    assert "test/accuracy" in names
    assert not {name for name in names if name.endswith(("_ci_low", "_ci_high")) or name.startswith("epochs/")}


@pytest.mark.slow
def test_a_cell_of_which_nothing_has_run_has_no_run(make_root: Any) -> None:
    root = make_root()
    assert set(root.sync().children) == set()
    assert set(root.commit(root.choose(method="msg")).sync().children) == {"msg"}


@pytest.mark.slow
def test_diverged_and_unusable_trials_are_named(make_root: Any) -> None:
    root = make_root()
    diverged, collapsed = (root.choose(kind="unlearn", method=name, seed=2) for name in ("ct", "msg"))
    rest = [unit for unit in root.units if unit not in (*diverged, *collapsed)]
    root.commit(rest).commit(diverged, status="diverged").commit(collapsed, shift=-0.7)
    tags = {name: run.data.tags for name, run in root.sync().children.items()}
    assert tags["ct"]["diverged"] == f"seed 2: {diverged[0]['id']}"
    assert tags["msg"]["unusable"].startswith("seed 2: accuracy_test")
    assert not {"diverged", "unusable", "failed"} & set(tags["original"])


@pytest.mark.slow
def test_changed_hyperparameters_replace_the_run(make_root: Any) -> None:
    """Parameters cannot be changed in MLflow: the run that has the wrong ones is deleted."""
    root = make_root().commit()
    before = root.sync().children
    root.commit(root.choose(kind="unlearn", method="msg"), attempt=2, lr=0.5)
    after = root.sync().children
    assert (before["msg"].data.params["method.lr"], after["msg"].data.params["method.lr"]) == ("0.1", "0.5")
    assert {name for name in after if after[name].info.run_id != before[name].info.run_id} == {"msg"}


@pytest.mark.slow
def test_hyperparameters_that_differ_between_seeds_are_a_tag(make_root: Any) -> None:
    root = make_root().commit()
    root.commit(root.choose(kind="unlearn", method="msg", seed=1), attempt=2, lr=0.5)
    run = root.sync().children["msg"].data
    assert "method.lr" not in run.params
    assert run.tags["hyperparameters"] == "lr, by seed: 0.1, 0.5, 0.1"


@pytest.mark.slow
def test_what_somebody_deleted_comes_back_and_doubles_go(make_root: Any) -> None:
    root = make_root(seeds=(0,)).commit()
    before = root.sync()
    before.client.delete_run(before.children["msg"].info.run_id)
    twin = before.children["ct"]
    before.client.create_run(twin.info.experiment_id, twin.info.start_time + 1, twin.data.tags, "ct")
    after = root.sync()
    assert after.said() == before.said()
    before.client.delete_experiment(twin.info.experiment_id)
    assert root.sync().said() == before.said()


@pytest.mark.slow
def test_several_cells_are_told_apart(make_root: Any) -> None:
    cells = (*CELL, ("digits", "class:3", "cnn_small"))
    root = make_root(cells=cells, methods={"retrain": "default", "msg": "lr=0.1", "original": "default"}).commit()
    names = set(root.sync().children)
    assert names == {f"{method} {cell[1]}" for method in root.methods for cell in cells}


@pytest.mark.slow
def test_searched_hyperparameters_are_one_competitor(make_root: Any) -> None:
    root = make_root(seeds=(0, 1), methods={"retrain": "default", "msg": "search:0a1b", "ct": "default"}).commit()
    metrics = {name: run.data.metrics for name, run in root.sync().children.items()}
    ranks = ranking(root).filter(pl.col("metric") == "overall", pl.col("config") == "search")
    assert metrics["msg"]["rank/overall"] == ranks["rank"].item()


@pytest.mark.slow
def test_audits_belong_to_every_scenario_of_their_method(make_root: Any) -> None:
    root = make_root().commit().audit("ct")
    children = root.sync().children
    found = {name: v for name, v in children["ct"].data.metrics.items() if "/ulira_" in name}
    assert found["mia/canary/ulira_o_auc"] == 0.7
    assert found["mia/canary/ulira_o_auc_l1_ci_low"] == 0.6
    assert found["mia/clean/ulira_r_tpr_at_0.01"] == 0.72
    assert len(found) == 3 * 3 * 2  # with its interval, three attacks, two statistics
    assert "Hayes et al. 2024" in children["ct"].data.tags["mlflow.note.content"]
    assert not any("/ulira_" in name for name in children["msg"].data.metrics)


def test_the_parent_has_the_tables_and_figures(toy: Any, tracked: Any) -> None:
    (parent,) = tracked.parents
    folder = toy.path / "mlartifacts" / "toy" / parent.info.run_id / "artifacts"
    assert pl.read_parquet(folder / "tables" / "rankings.parquet").equals(ranking(toy))
    trials = derive(toy.table("units"), toy.table("metrics"))
    assert pl.read_parquet(folder / "tables" / "metrics.parquet").equals(trials)
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {
        "ranking",
        "values",
        "tradeoff",
        "curves",
    }
    assert (folder / "plan.json").read_text().count('"kind"') == len(toy.units)
    assert not (folder / "report.html").exists()


@pytest.mark.slow
def test_the_report_goes_to_the_plan_that_was_ranked_last(make_root: Any) -> None:
    old, new = make_root(seeds=(0,)).commit(), make_root(seeds=(0, 1)).commit()
    new.store.replace("rankings", ranking(new), {"study": "toy"})
    page = Path(new.store.report_path("toy"))
    page.parent.mkdir(parents=True)
    page.write_text("<h1>two seeds</h1>")
    sync_stored(new.store)
    tracked = new.sync()
    files = {
        run.info.run_name: {one.path for one in tracked.client.list_artifacts(run.info.run_id)}
        for run in tracked.parents
    }
    assert {name for name, paths in files.items() if "report.html" in paths} == {new.plan}
    assert set(files) == {old.plan, new.plan}


def test_a_long_curve_takes_several_requests(make_root: Any) -> None:
    root = make_root(seeds=(0,), methods={"retrain": "default"})
    root.commit(root.choose(kind="retrain"), epochs=2 * runs.BATCH)
    tracked = root.sync()
    losses = tracked.series(tracked.children["retrain"], "epochs/loss")
    assert losses == {epoch: 1 / (1 + epoch) for epoch in range(2 * runs.BATCH)}


def test_one_process_writes_at_a_time(make_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.0)
    root = make_root().commit()
    with (
        database.only_writer(root.address),
        pytest.raises(TrackingUnavailable, match=r"another process writes .*"),
    ):
        sync(root.document, root.store)
    assert sync(root.document, root.store).created


@pytest.mark.slow
def test_a_root_that_was_moved_says_so(make_root: Any, tmp_path: Path) -> None:
    root = make_root().commit()
    root.sync()
    shutil.copytree(root.path, tmp_path / "moved")
    with pytest.raises(TrackingUnavailable, match=r"made in another place .*delete it and sync again"):
        sync(root.document, Store.open(str(tmp_path / "moved")))


def test_a_database_that_is_none_is_one_line(make_root: Any) -> None:
    root = make_root().commit()
    (root.path / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(TrackingUnavailable, match=r"harness sync STUDY") as caught:
        sync(root.document, root.store)
    assert "\n" not in str(caught.value)


def test_studies_are_found_by_name_or_plan(make_root: Any) -> None:
    root = make_root(seeds=(0,)).commit(())
    other = make_root(study="other", seeds=(0,)).commit(())
    assert [report.plan for report in sync_stored(root.store)] == sorted([root.plan, other.plan])
    assert [report.plan for report in sync_stored(root.store, "other")] == [other.plan]
    assert [report.study for report in sync_stored(root.store, root.plan)] == ["toy"]
    with pytest.raises(NoSuchStudy, match=r"no study 'othr' in .*did you mean 'other'"):
        sync_stored(root.store, "othr")
