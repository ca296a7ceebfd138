"""The tables as their users ask them: stored ones, and one wide row for each trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
from polars.testing import assert_frame_equal

import harness
from harness.frames import of_units, trials
from harness.metrics import (
    EFFICACY_RATIO,
    LIKENESS_METRICS,
    PROBE_METRICS,
    SEQUENCE_METRICS,
    TAMPERED_METRICS,
    TRIAL,
    TRIAL_METRICS,
    TRIO_METRICS,
    derive,
)
from harness.planner import make_plan
from harness.store import KEYS, SCHEMAS, Store, UnknownPlan, UnknownTable
from harness.study import load_study
from harness.tables import TRIALS, columns, tables

NOT_ASKED_FOR = {
    *("relearn_steps", "anamnesis", *TRIO_METRICS, *LIKENESS_METRICS, *TAMPERED_METRICS, *SEQUENCE_METRICS),
    *(*PROBE_METRICS, EFFICACY_RATIO),
    *(name for name in TRIAL_METRICS if name.endswith(("_test_retain", "_test_forget"))),
}
"""What the tiny study measures nowhere."""


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_every_table_is_scanned_with_its_columns_and_a_unique_key(finished: Path, tmp_path: Path, table: str) -> None:
    rows = harness.scan(str(finished), table).collect()
    assert rows.columns == SCHEMAS[table].names
    assert not rows.select(KEYS[table]).is_duplicated().any()
    empty = harness.scan(str(tmp_path / "no"), table).collect()
    assert (empty.columns, len(empty)) == (rows.columns, 0)
    assert not (tmp_path / "no").exists()


def test_the_root_is_that_of_the_environment(finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert harness.scan(None, "units").collect().is_empty()
    assert harness.results().is_empty()
    monkeypatch.setenv("HARNESS_ROOT", str(finished))
    assert len(harness.scan(None, "units").collect()) == 48
    assert_frame_equal(harness.results(), harness.results(str(finished)))


def test_results_are_the_metrics_of_each_trial_side_by_side(tiny: Path, finished: Path) -> None:
    wide, plan = harness.results(str(finished), "tiny"), make_plan(load_study(tiny))
    assert wide["unit"].is_unique().all()
    assert set(wide["unit"]) == {unit.id for unit in plan.units.values() if unit.kind in ("retrain", "unlearn")}
    assert set(wide["plan"]) == {plan.id}
    key = [*TRIAL, "metric"]
    long = wide.unpivot(TRIAL_METRICS, index=TRIAL, variable_name="metric").sort(key)
    stored = (of_units(Store.open(str(finished)), name, plan.units) for name in ("units", "metrics", "epochs"))
    values = derive(*stored).select(*key, "value").sort(key)
    assert_frame_equal(long.filter(pl.col("metric").is_in(values["metric"].unique().implode())), values)
    asked = ~pl.col("metric").is_in(NOT_ASKED_FOR)
    assert long.filter(asked)["value"].is_not_null().mean() > 0.9
    assert long.filter(~asked)["value"].is_null().all()


def test_how_fast_retrain_is_reached_stands_in_the_trials_alone(finished: Path, tiny: Path) -> None:
    wide, plan = harness.results(str(finished), "tiny"), make_plan(load_study(tiny))
    learned = wide.filter(method="retrain")
    assert learned["distill_steps"].to_list() == learned["steps"].to_list()  # one epoch
    assert learned["distill_auc"].is_between(0, 1, closed="none").all()
    assert wide.filter(method="original")["distill_auc"].is_null().all()
    elsewhere = trials(Store.open(str(finished)), plan.units).filter(pl.col("metric").str.starts_with("distill"))
    assert elsewhere["value"].is_null().all()


def test_two_studies_of_one_root_keep_their_trials_apart(own: Path, tmp_path: Path) -> None:
    """Their recipes differ, so one cell, method and seed has two trials."""
    other = tiny_study.write_study(tmp_path, tiny_study.PLAIN, methods=["ct"], recipe={"epochs": 2})
    harness.run(other, str(own), views=lambda plan, store: None)
    both, first, second = (harness.results(str(own), name) for name in (None, "tiny", "plain"))
    assert_frame_equal(both, pl.concat([second, first]))
    assert set(second["unit"]).isdisjoint(first["unit"])
    assert second.select("method", "seed").sort("method").rows() == [("ct", 0), ("original", 0), ("retrain", 0)]
    ratio = second.filter(method="ct")["accuracy_test"] / second.filter(method="retrain")["accuracy_test"]
    assert second.filter(method="ct")["test_retention"].to_list() == ratio.to_list()
    assert_frame_equal(harness.results(str(own), second["plan"][0]), second)
    with pytest.raises(UnknownPlan, match=r"no study 'plane' in .*; did you mean 'plain'\?"):
        harness.results(str(own), "plane")


def test_a_trial_of_a_search_is_measured_against_the_same_retrain(own: Path) -> None:
    store = Store.open(str(own), write=True)
    plan = store.plans()[0]
    document = store.read_plan(plan)
    rows = {
        name: store.scan(name).filter(kind="unlearn", method="ct", seed=0).collect() for name in ("units", "metrics")
    }
    unit = rows["units"]["unit"].item()
    planned = next(one for one in document["units"] if one["id"] == unit)
    changed: dict[str, Any] = {"unit": "f" * 16, "kind": "search", "config": "suggestion=0"}
    store.commit("f" * 16, {name: [row | changed for row in frame.to_dicts()] for name, frame in rows.items()})
    suggested = planned | {"id": changed["unit"]} | {name: changed[name] for name in ("kind", "config")}
    more = {"ids": [*document["ids"], changed["unit"]], "units": [*document["units"], suggested]}
    store.write_plan(plan, document | more)

    found = harness.results(str(own)).filter(method="ct", seed=0)
    assert found["kind"].to_list() == ["search", "unlearn"]
    # A copy of the units and metrics alone: it has neither times nor curves, nor an original beside it.
    absent = {*tiny_study.TIMED, "gum", "aus"}
    untimed = [name for name in TRIAL_METRICS if name not in absent and not name.startswith("distill")]
    searched, unlearned = found.select(untimed).rows()
    assert searched == unlearned
    assert found.filter(kind="search").select(tiny_study.TIMED).row(0) == (None, None, None)


@pytest.mark.parametrize("table", tables())
def test_every_column_is_described(finished: Path, table: str) -> None:
    described = columns(table)
    assert [row["column"] for row in described] == harness.scan(str(finished), table).collect_schema().names()
    assert all(row["what"] and row["type"] for row in described)
    metrics = {row["column"]: row for row in described if row["direction"]}
    assert set(metrics) == (set(TRIAL_METRICS) if table == TRIALS else set())
    assert all(row["unit"] for row in metrics.values())


@pytest.mark.parametrize("ask", [columns, lambda table: harness.scan("runs", table)])
def test_an_unknown_table_names_the_nearest(ask: Any) -> None:
    with pytest.raises(UnknownTable, match=r"no table 'trails'; did you mean 'trials'\?"):
        ask("trails")


def test_trials_can_be_asked_and_joined(finished: Path) -> None:
    statement = """
        select t.method, avg(t.accuracy_test) as mean, count(e.epoch) as epochs
        from trials t left join epochs e on t.unit = e.unit where t.kind = 'unlearn' group by t.method order by t.method
    """
    asked = harness.query(str(finished), statement)
    unlearned = harness.results(str(finished)).filter(kind="unlearn")
    means = dict(unlearned.group_by("method").agg(pl.col("accuracy_test").mean()).rows())
    assert asked.columns == ["method", "mean", "epochs"]
    assert asked["method"].to_list() == sorted(means)
    assert set(asked.filter(pl.col("epochs") > 0)["method"]) >= {"ct", "finetune"}
