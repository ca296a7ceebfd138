"""A study that asks for three attackers, in one process: its rows, its screen, its weights, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tiny_study

import harness
from harness.attacks import loss_from_phi, mia_trio
from harness.ledger import Silent, Summary
from harness.metrics import TRIO_ACCURACIES, TRIO_METRICS, derive
from harness.planner import Plan, make_plan
from harness.report.statements import of_values
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind, Unit
from harness.work.attacked import Signal, trio_numbers
from harness.work.unit import Status

STUDY: dict[str, Any] = {**tiny_study.PLAIN, "datasets": ["digits@600"], "methods": ["ct"]}
ASKED = ["accuracy", "mia_trio"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), STUDY, measures=ASKED)


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the study ran, with ranking and report."""
    root = tmp_path_factory.mktemp("attacked") / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    (root / "screen.txt").write_text(answer.out)
    return root


def run(study: Path, root: Path, progress: Silent | None = None) -> Summary:
    """Run a study without ranking and report."""
    where = harness.drive.Where()
    return harness.drive.run(study, str(root), where=where, views=lambda plan, store: None, progress=progress)


def with_weights(plan: Plan, store: Store) -> set[Kind]:
    return {unit.kind for unit in plan.units.values() if store.has_model(unit.id)}


def test_every_trial_is_attacked_by_what_its_model_says_of_forget_and_test(study: Path, root: Path) -> None:
    store = Store.open(str(root))
    attacks = store.scan("units").filter(kind="attack").collect()
    assert sorted(attacks["method"]) == ["ct", "original", "retrain"]
    rows = harness.results(str(root), "plain")
    signals = store.scan("signals").filter(pl.col("kind").is_in(["retrain", "unlearn"])).collect()
    for row in rows.iter_rows(named=True):
        own = signals.filter(unit=row["unit"])
        forget, test = (np.array(own.filter(pool=pool)["phi"].item()) for pool in ("forget", "test"))
        for attacker, found in mia_trio(loss_from_phi(forget), loss_from_phi(test)).items():
            # The stored phi are float32: a split of trees may flip an image.
            assert row[f"mia_{attacker}_test"] == pytest.approx(found.accuracy, abs=0.1)
            assert row[f"mia_{attacker}_auc_sd_test"] is not None
        assert row["loss_gap"] == row["loss_forget"] - row["loss_test"]


def test_it_is_on_the_screen_in_the_ranking_and_on_the_page(study: Path, root: Path) -> None:
    header = next(line for line in (root / "screen.txt").read_text().splitlines() if line.startswith("rank"))
    heads = ["MIA logistic", "MIA SVM", "MIA XGBoost", "loss gap"]
    assert [header.index(head) for head in heads] == sorted(header.index(head) for head in heads)
    assert "AUC" not in header
    ranked = Store.open(str(root)).scan("rankings").filter(group="overall").collect()
    for metric in (*TRIO_ACCURACIES, "loss_gap"):
        assert set(ranked.filter(metric=metric)["method"]) == {"retrain", "original", "ct"}
    page = (root / "reports" / "plain" / "index.html").read_text("utf-8")
    assert all(page.count(head) > 1 for head in heads)
    assert "over-forgetting" in page


def test_the_command_below_a_figure_prints_what_the_numbers_come_from(root: Path) -> None:
    store = Store.open(str(root))
    units, metrics = (store.scan(name).collect() for name in ("units", "metrics"))
    trials = derive(units, metrics)
    wanted = ["mia_svm_test", "loss_gap"]
    sql = of_values("plain", trials, wanted).removeprefix('harness query "').removesuffix('"')
    rows = harness.query(str(root), sql)
    again = derive(units, rows.select("unit", "part", "metric", "value"))
    drawn = pl.col("metric").is_in(wanted)
    assert again.filter(drawn).equals(trials.filter(drawn))
    assert set(rows["kind"]) == {"attack", "retrain", "unlearn"}


def test_a_second_run_does_nothing_and_only_originals_keep_their_weights(study: Path, root: Path) -> None:
    again = run(study, root)
    assert (again.ran, again.complete, again.cached) == ({}, True, len(again.plan.units))
    assert with_weights(again.plan, Store.open(str(root))) == {Kind.ORIGINAL}


def test_weights_stay_until_the_last_unit_that_looks_at_them_has_ended(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, STUDY, measures=[*ASKED, "anamnesis"])
    root, plan = tmp_path / "runs", make_plan(load_study(study))
    store = Store.open(str(root))
    left: list[tuple[Kind, bool]] = []

    class Watching(Silent):
        def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
            trials = [one.id for one in plan.units.values() if one.kind in (Kind.RETRAIN, Kind.UNLEARN)]
            left.append((unit.kind, sum(store.has_model(one) for one in trials) == 1))

    summary = run(study, root, Watching())
    assert summary.complete
    # A unit is told before its weights go: those of one trial are there while anything looks at it, never two.
    assert all(there for kind, there in left if kind != Kind.ORIGINAL)
    assert {kind for kind, _ in left} == {Kind.ORIGINAL, Kind.RETRAIN, Kind.UNLEARN, Kind.RELEARN, Kind.ATTACK}
    assert with_weights(plan, store) == {Kind.ORIGINAL}


def test_an_attack_that_failed_runs_again_alone(
    tmp_path: Path, study: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.work import unit as work

    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(work, "attack_trial", broken)
    own = tmp_path / "runs"
    first = run(study, own)
    assert {unit.kind for unit in first.failed} == {Kind.ATTACK}
    monkeypatch.undo()
    second = run(study, own)
    assert (dict(second.ran), second.complete) == ({"done": 3}, True)
    same = ("unit", "part", "metric")
    found, expected = (
        Store.open(str(one)).scan("metrics").filter(kind="attack").select(*same, "value").collect().sort(same)
        for one in (own, root)
    )
    assert found.equals(expected)


def test_too_few_images_leave_nulls_and_the_rest_of_the_study_as_it_is(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, STUDY, datasets=["digits@100"], scenarios=["random:0.05"], measures=ASKED)
    root = tmp_path / "runs"
    summary = run(study, root)
    assert summary.complete
    store = Store.open(str(root))
    assert set(store.scan("units").collect()["status"]) == {"done"}
    stored = store.scan("metrics").filter(kind="attack").collect()
    assert (len(stored), stored["value"].null_count()) == (9, 9)
    trials = derive(*(store.scan(name).collect() for name in ("units", "metrics")))
    assert set(trials.filter(pl.col("metric").is_in(TRIO_METRICS))["flag"]) == {"not computable"}
    assert trials.filter(pl.col("metric") == "loss_gap")["flag"].null_count() == 3


def test_losses_that_are_not_finite_are_not_attacked() -> None:
    phi = np.linspace(-1, 1, 40)
    members, others = Signal(phi, phi > 2), Signal(np.where(phi > 0.9, np.nan, phi), phi > 2)
    assert set(trio_numbers(members, others).values()) == {None}
    assert len(trio_numbers(members, members)) == len(TRIO_METRICS)
