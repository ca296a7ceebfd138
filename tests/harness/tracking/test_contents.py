"""What a run says, before any MLflow: plans, estimates, names, notes, views."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from harness.metrics import derive, frame, usable
from harness.planner import make_plan
from harness.ranking import rank
from harness.study import load_study
from harness.tracking.content import Content
from harness.tracking.estimates import cell_estimates
from harness.tracking.notes import LENGTH, cell_note, study_note
from harness.tracking.numbers import attack_name
from harness.tracking.plan import Cell, StoredPlan
from harness.tracking.results import read_results
from harness.tracking.view import view_tag, view_text

STUDY = """
name: two
question: Which?
datasets: [digits, fashion_mnist@2000]
architectures: [cnn_small]
scenarios: ["random:0.1", "class:3"]
methods: [finetune, {msg: {lr: 0.02}}]
seeds: 2
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("study") / "two.yaml"
    path.write_text(STUDY)
    return make_plan(load_study(path))


def test_a_plan_and_its_document_are_the_same(plan: Any) -> None:
    given, stored = StoredPlan.of(plan), StoredPlan.of(json.loads(json.dumps(plan.to_json())))
    assert given.units == stored.units
    assert json.dumps(given.document) == json.dumps(stored.document)


def test_cells_are_named_as_in_the_tables(plan: Any) -> None:
    stored = StoredPlan.of(plan)
    key = ("dataset", "scenario", "architecture", "method", "config")
    for unit in stored.units:
        assert unit.cell == Cell(*(plan.units[unit.id].columns()[name] for name in key))
    trials = [unit for unit in plan.units.values() if unit.kind in ("retrain", "unlearn")]
    assert len(stored.cells) == len(trials) / len(plan.study.seeds) == 4 * 4
    assert all(unit in units for cell, units in stored.cells.items() for unit in units if unit.cell == cell)


def test_classes_are_those_of_the_document_or_of_the_declared_data_sets(plan: Any) -> None:
    own = StoredPlan.of(plan)
    assert own.classes == {"digits": 10, "fashion_mnist@2000": 10}
    assert StoredPlan.of(plan.to_json() | {"classes": {"digits": 7}}).classes == {"digits": 7}


def test_estimates_are_those_of_the_ranking(make_root: Any) -> None:
    """Of one data set, scenario and architecture; also where seeds are missing, diverged or useless."""
    root = make_root(
        seeds=(1, 2, 3, 4), methods=dict.fromkeys(("retrain", "original", "msg", "ct", "a", "b"), "default")
    )
    gone = [*root.choose(method="a", seed=1), *root.choose(method="original", seed=2)]
    bad, useless = root.choose(method="b", seed=3), root.choose(method="ct", seed=4)
    root.commit(unit for unit in root.units if unit not in (*gone, *bad, *useless))
    root.commit(bad, status="diverged").commit(useless, shift=-0.75)
    trials = derive(root.table("units"), root.table("metrics"))
    judged = usable(trials, {"digits": 10})
    metrics = ("retention_deviation", "indiscernibility_val", "accuracy_test", "time_ratio")
    ranked = rank(trials, study="toy", metrics=metrics, also=(), usable=judged).filter(pl.col("metric") != "overall")
    estimates = cell_estimates(trials, judged).filter(pl.col("metric").is_in(metrics))
    columns = ("method", "metric", "value", "low", "high")
    assert judged["usable"].not_().sum() == 2
    assert set(estimates.select(columns).rows()) == set(ranked.select(columns).rows())


def test_where_no_seed_is_usable_what_was_measured_is_shown(make_root: Any) -> None:
    root = make_root()
    useless = root.choose(method="ct")
    root.commit(unit for unit in root.units if unit not in useless).commit(useless, shift=-0.75)
    trials = derive(root.table("units"), root.table("metrics"))
    shown = cell_estimates(trials, usable(trials, {"digits": 10})).filter(
        pl.col("method") == "ct", pl.col("metric") == "accuracy_test"
    )
    measured = trials.filter(pl.col("method") == "ct", pl.col("metric") == "accuracy_test")["value"]
    assert shown["value"].item() == pytest.approx(measured.mean())


def test_a_plan_without_results_has_no_numbers(make_root: Any) -> None:
    root = make_root()
    results = read_results(StoredPlan.of(root.document), root.store)
    assert results.estimates.is_empty()
    assert results.rankings.is_empty()


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (("auc", "canary", "O", "L2"), "ulira_auc.canary.O"),
        (("ulira_auc", "canary", "R", "L2"), "ulira_auc.canary.R"),
        (("tpr@0.001", "clean", "O", "L0"), "ulira_tpr_at_0.001.clean.O.L0"),
        (("auc", "val", "population", ""), "population_auc.val"),
    ],
)
def test_attacks_are_named(row: tuple[str, ...], name: str) -> None:
    assert attack_name(dict(zip(("metric", "pool", "null", "level"), row, strict=True))) == name


words = st.text(string.ascii_letters + string.digits + "_@. ()|é", min_size=1, max_size=12)


@given(st.tuples(words, words, st.sampled_from(["O", "R", "population"]), st.sampled_from(["L0", "L1", "L2"])))
def test_every_name_of_an_attack_is_one_that_mlflow_takes(row: tuple[str, ...]) -> None:
    _validate_metric_name(attack_name(dict(zip(("metric", "pool", "null", "level"), row, strict=True))))


@given(st.lists(st.integers(), max_size=3000), st.text(max_size=9000))
def test_a_note_fits_into_a_tag(seeds: list[int], text: str) -> None:
    cell = Cell("digits", "random:0.1", "cnn_small", "msg", text)
    assert len(cell_note(cell, seeds, frame()["metric"], frame())) <= LENGTH
    rows = pl.DataFrame([{"group": "overall", "metric": "overall", "method": "a|b", "config": text} | EMPTY])
    assert len(study_note(text, rows, frame())) <= LENGTH


EMPTY = {
    "value": 1.0,
    "low": None,
    "high": None,
    "rank": 1.0,
    "rank_low": None,
    "rank_high": None,
    "status": "ranked",
}


def test_the_ranking_stands_in_the_note_of_the_study(toy: Any) -> None:
    results = read_results(StoredPlan.of(toy.document), toy.store)
    lines = study_note("Which?", results.rankings, results.definitions).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert rows[0][:3] == ["rank", "method", "mean rank"]
    overall = results.rankings.filter(pl.col("metric") == "overall", pl.col("status") == "ranked").sort("rank")
    assert [row[1] for row in rows[2:]] == [*overall["method"], "original", "retrain"]
    deviation = results.rankings.filter(pl.col("metric") == "retention_deviation", pl.col("method") == rows[2][1])
    value, low, high = deviation.select("value", "low", "high").row(0)
    assert rows[2][3] == f"{value:.3f} [{low:.3f}, {high:.3f}]"


def test_a_digest_is_of_everything_but_the_start() -> None:
    same: dict[str, Any] = {"key": "k", "name": "n", "status": "FINISHED", "ended": 2, "params": {"a": "1"}}
    first = Content(**same, started=1, metrics={"b": 1.0, "a": 0.1}, series={"s": {0: 0.5}})
    assert first.digest == Content(**same, started=9, metrics={"a": 0.1, "b": 1.0}, series={"s": {0: 0.5}}).digest
    assert first.digest != Content(**same, started=1, metrics={"b": 1.0, "a": 0.1}, series={"s": {1: 0.5}}).digest


def test_a_view_shows_what_there_is(toy: Any) -> None:
    plan = StoredPlan.of(toy.document)
    audits = {"ulira_auc.canary.O", "ulira_auc.canary.O.low", "ulira_auc.canary.O.L1", "seeds/accuracy_test"}
    view = json.loads(view_text(plan, {"rank.overall", "accuracy_test", *audits}, 5))
    state = json.loads(view["state"])
    assert view_tag(plan).endswith(plan.id)
    assert state["selectedColumns"] == [
        "metrics.`rank.overall`",
        "metrics.`accuracy_test`",
        "metrics.`ulira_auc.canary.O`",
    ]
    assert state["orderByKey"] == "metrics.`rank.overall`"
    assert Path(view["name"]).name == f"Ranking {plan.id}"
