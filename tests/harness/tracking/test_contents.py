"""What a run says, before any MLflow: plans, estimates, names, notes, views."""

from __future__ import annotations

import json
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from harness.metrics import AUDIT_METRICS, CLASS_PARTS, FORGOTTEN_BEFORE, PARTS, derive, frame, usable
from harness.planner import make_plan
from harness.ranking import rank
from harness.study import load_study
from harness.tracking.content import LENGTH, Content
from harness.tracking.estimates import cell_estimates
from harness.tracking.facts import trial_ids, versions
from harness.tracking.names import NAMES, attack_name, metric_name
from harness.tracking.notes import HOW_TO_READ, cell_note, study_note
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


def test_data_differ_where_the_split_does(plan: Any) -> None:
    """The same files, but another forget set or another subset, are other data."""
    document = plan.to_json()
    data = StoredPlan.of(document).data
    assert {(one.name, one.context) for one in data} == {
        (dataset, scenario) for dataset in ("digits", "fashion_mnist@2000") for scenario in ("random:0.1", "class:3")
    }
    assert len({one.digest for one in data}) == len(data) == 4
    for changed in ({"dataset": {"digest": "0" * 64}}, {"dataset": {"version": 9}}, {"scenario": {"version": 9}}):
        units = [unit | {part: unit[part] | values for part, values in changed.items()} for unit in document["units"]]
        other = StoredPlan.of(document | {"units": units}).data
        assert {one.digest for one in other}.isdisjoint({one.digest for one in data}), changed
    files = {unit["dataset"]["digest"] for unit in document["units"]}
    assert {json.loads(one.source)["dataset"]["digest"] for one in data} == files


def test_the_ids_of_trials_fit_into_a_tag(plan: Any) -> None:
    units = [unit for unit in StoredPlan.of(plan).units if unit.is_trial]
    many = [replace(units[0], id=f"{at:020x}", seed=-at) for at in range(1000)]
    assert trial_ids(many[:3]) == ", ".join(f"{at:020x}" for at in (2, 1, 0))
    assert len(trial_ids(many)) <= LENGTH
    *first, last = trial_ids(many).removesuffix("…").split(", ")
    assert first == [f"{at:020x}" for at in range(999, 999 - len(first), -1)]
    assert len(last) == 20


def test_versions_that_differ_are_all_named() -> None:
    texts = ['{"torch": "2.13.0", "numpy": "2", "commit": "c0ffee"}', '{"torch": "2.12.0", "numpy": "2"}', None]
    assert versions(pl.DataFrame({"versions": texts})) == {
        "version.torch": "2.12.0, 2.13.0",
        "version.numpy": "2",
        "mlflow.source.git.commit": "c0ffee",
    }


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
    ("metric", "name"),
    [
        ("accuracy_forget", "forget/accuracy"),
        ("loss_test", "test/loss"),
        ("accuracy_train", "train/accuracy"),
        ("accuracy_test_forget", "test_forget/accuracy"),
        ("mia_entropy_forget", "mia/entropy_forget"),
        ("retention_deviation", "gap/retention_deviation"),
        ("gap_to_retrain", "gap/to_retrain"),
        ("population_mia_val", "mia/population_val"),
        ("time_ratio", "cost/time_ratio"),
        ("overall", "rank/mean"),
        ("calibration_error_test", "test/calibration_error"),  # nobody mapped it, but its part is known
        ("sharpness@2 %", "other/sharpness_at_2_"),
    ],
)
def test_metrics_are_named_by_group(metric: str, name: str) -> None:
    assert metric_name(metric) == name


def test_every_defined_metric_of_trials_has_a_group_and_a_name_of_its_own() -> None:
    defined = [metric for metric in frame()["metric"] if metric not in AUDIT_METRICS]
    names = [metric_name(metric) for metric in defined]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("other/")]
    assert {name.partition("/")[0] for name in names} == {*PARTS, *CLASS_PARTS, FORGOTTEN_BEFORE, "train"} | GROUPS
    assert set(NAMES) >= {one for one, name in zip(defined, names, strict=True) if name.partition("/")[0] in GROUPS}


GROUPS = {"gap", "mia", "challenge", "relearn", "likeness", "probe", "composite", "manipulated", "distill"}
GROUPS |= {"cost", "rank"}
COLUMNS = ("metric", "pool", "null", "level")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (("auc", "canary", "O", "L2"), "mia/canary/ulira_o_auc"),
        (("auc", "canary", "R", "L2"), "mia/canary/ulira_r_auc"),
        (("tpr@0.001", "clean", "O", "L0"), "mia/clean/ulira_o_tpr_at_0.001_l0"),
        (("rmia_auc", "canary", "O", "L2"), "mia/canary/rmia_o_auc"),
        (("offline_1s_auc", "canary", "O", "L2"), "mia/canary/offline_1s_o_auc"),
        (("klom", "canary", "R", "L2"), "audit/canary/klom_r"),
        (("eps_cp", "..", "O", "L2"), "audit/__/eps_cp_o"),
    ],
)
def test_attacks_are_named(row: tuple[str, ...], name: str) -> None:
    found = dict(zip(COLUMNS, row, strict=True))
    assert attack_name(found, with_pool=True) == name
    group, _, rest = name.split("/")
    assert attack_name(found, with_pool=False) == f"{group}/{rest}"


def test_every_metric_of_an_audit_has_a_name_of_its_own() -> None:
    rows = [(metric, "p", null, level) for metric in AUDIT_METRICS for null in "OR" for level in ("L0", "L1", "L2")]
    names = {attack_name(dict(zip(COLUMNS, row, strict=True)), with_pool=True) for row in rows}
    assert len(names) == len(rows)


words = st.text(string.ascii_letters + string.digits + "_@. ()|é", min_size=1, max_size=12)


@given(st.tuples(words, words, st.sampled_from(["O", "R"]), st.sampled_from(["L0", "L1", "L2"])))
def test_every_name_is_one_that_mlflow_takes(row: tuple[str, ...]) -> None:
    _validate_metric_name(attack_name(dict(zip(COLUMNS, row, strict=True)), with_pool=True))
    _validate_metric_name(metric_name(row[0]))


@given(st.lists(st.integers(), max_size=3000), st.text(max_size=9000))
def test_a_note_fits_into_a_tag(seeds: list[int], text: str) -> None:
    cell = Cell("digits", "random:0.1", "cnn_small", "msg", text)
    assert len(cell_note(cell, seeds, set(map(metric_name, frame()["metric"])), frame())) <= LENGTH
    rows = pl.DataFrame([{"group": "overall", "metric": "overall", "method": "a|b", "config": text} | EMPTY])
    assert len(study_note(text, rows, frame())) <= LENGTH


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "</td></table><script>alert(1)</script>",
        "![x](https://x.example/y.png)",
        "[x](javascript:alert(1)) [x]: javascript:y <https://x.example>",
        "` <b>x</b> ` | \\` <i>y</i> | \\",
        "x\n\n# heading\n\n<div>\n\n- ![z](q)\n\n    code\r\x1b[2J\u202e",
        "&lt;b&gt; &#60;i&#62;",
    ],
)
def test_in_a_note_what_strangers_write_is_no_markup(text: str) -> None:
    """Whoever shows Markdown makes elements of it, and what stands in an address is asked for."""
    rows = [{"group": "overall", "metric": "overall", "method": name, "config": text} | EMPTY for name in (text, "b")]
    cell = Cell(text, text, text, text, text)
    for note in (
        study_note(text, pl.DataFrame([*rows, rows[0] | {"config": "c"}]), frame()),
        cell_note(cell, [], [], frame()),
    ):
        shown = note.replace(HOW_TO_READ, "")
        assert "<" not in shown
        assert ">" not in shown
        assert not re.search(r"(?<!\\)(\\\\)*[\[\]!]", shown), shown
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", shown)
        assert not re.search(r"^(#|    |- !)", shown, re.MULTILINE)
    assert study_note("What? A b_c: 1 + 2 (x), 3 %.", pl.DataFrame(rows), frame()).startswith(
        "What? A b_c: 1 + 2 (x), 3 %.\n"
    )


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
    audit = "mia/canary/ulira_o_auc"
    metrics = {"rank/overall", "test/accuracy", "seeds/test_accuracy", audit, f"{audit}_ci_low", f"{audit}_l1"}
    view = json.loads(view_text(plan, metrics, 5))
    state = json.loads(view["state"])
    assert view_tag(plan).endswith(plan.id)
    assert state["selectedColumns"] == [
        "metrics.`rank/overall`",
        "metrics.`test/accuracy`",
        "metrics.`mia/canary/ulira_o_auc`",
    ]
    assert state["orderByKey"] == "metrics.`rank/overall`"
    assert Path(view["name"]).name == f"Ranking {plan.id}"
