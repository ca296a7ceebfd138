"""A study that asks for the Anamnesis Index, in one process: its rows, its weights, and how it goes on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

import harness
from harness.ledger import Silent, Summary
from harness.metrics import derive
from harness.planner import Plan, make_plan
from harness.report.statements import of_values
from harness.store import Store
from harness.study import load_study
from harness.tracking.cells import CellRuns
from harness.tracking.plan import StoredPlan
from harness.tracking.results import read_results
from harness.unit import Kind, Unit
from harness.work.unit import Status

STUDY: dict[str, Any] = {
    **tiny_study.PLAIN,
    "scenarios": ["class:4", "random:0.1"],
    "methods": ["finetune", "ct"],
    "recipe": {"epochs": 2},
}
"""The original knows the class by then, and a retrain learns it within the 50 steps that ten epochs are here."""

ASKED = ["accuracy", "anamnesis"]


class Noted(Silent):
    """Progress that remembers the units that ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[Unit, Status]] = []

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        self.ends.append((unit, status))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), STUDY, measures=ASKED)


@pytest.fixture(scope="module")
def root(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which the study ran, with ranking and report."""
    root = tmp_path_factory.mktemp("relearned") / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    (root / "screen.txt").write_text(answer.out)
    return root


def run(study: Path, root: Path, **arguments: Any) -> Summary:
    """Run a study without ranking and report."""
    return harness.run(study, str(root), views=lambda plan, store: None, **arguments)


def with_weights(plan: Plan, store: Store) -> set[str]:
    return {unit.id for unit in plan.units.values() if store.has_model(unit.id)}


def relearning(plan: Plan) -> list[Unit]:
    return [unit for unit in plan.units.values() if unit.kind == Kind.RELEARN]


def test_every_trial_has_its_numbers(study: Path, root: Path) -> None:
    plan, store = make_plan(load_study(study)), Store.open(str(root))
    units = relearning(plan)
    assert Counter(unit.method.name for unit in units) == {"retrain": 2, "finetune": 2, "ct": 2}
    rows = store.scan("metrics").filter(kind="relearn").collect()
    assert set(rows["unit"]) == {unit.id for unit in units}
    wide = {key[0]: dict(own.select("metric", "value").iter_rows()) for key, own in rows.group_by("unit")}
    for unit in units:
        one = wide[unit.id]
        assert set(one) == {"relearn_steps", "relearn_target", "relearn_steps_most"}
        assert 0 < one["relearn_target"] <= 0.95
        assert one["relearn_steps_most"] % 10 == 0
        assert one["relearn_steps"] is None or one["relearn_steps"] <= one["relearn_steps_most"]
    trials = harness.results(str(root), "plain").filter(scenario="class:4")
    steps = dict(trials.select("method", "relearn_steps").iter_rows())
    index = dict(trials.select("method", "anamnesis").iter_rows())
    assert steps["original"] == 0 < steps["finetune"] < steps["ct"] < steps["retrain"]
    assert index == {method: value / steps["retrain"] for method, value in steps.items()}
    at_random = harness.results(str(root), "plain").filter(scenario="random:0.1")
    assert at_random["relearn_steps"].null_count() == 0  # these images are like all others: retrain knows them, too
    assert at_random.filter(method="retrain")["relearn_steps"].item() == 0
    assert at_random["anamnesis"].is_null().all()


def test_it_is_shown_and_ranked(study: Path, root: Path) -> None:
    store = Store.open(str(root))
    header = next(line for line in (root / "screen.txt").read_text().splitlines() if line.startswith("rank"))
    assert "AIN" in header
    ranked = store.scan("rankings").filter(metric="anamnesis", group="overall").collect()
    assert set(ranked["method"]) == {"retrain", "original", "finetune", "ct"}
    page = (root / "reports" / "plain" / "index.html").read_text("utf-8")
    assert "Anamnesis Index" in page
    assert "distill" not in page


def test_the_command_below_a_figure_prints_what_the_index_is_computed_from(root: Path, study: Path) -> None:
    store = Store.open(str(root))
    units, metrics = (store.scan(name).collect() for name in ("units", "metrics"))
    trials = derive(units, metrics)
    for wanted in (["anamnesis"], ["relearn_steps", "accuracy_test"]):
        sql = of_values("plain", trials, wanted).removeprefix('harness query "').removesuffix('"')
        rows = harness.query(str(root), sql)
        again = derive(units, rows.select("unit", "part", "metric", "value"))
        drawn = pl.col("metric").is_in(wanted)
        assert again.filter(drawn).equals(trials.filter(drawn))
        assert set(rows["kind"]) == ({"relearn"} if wanted == ["anamnesis"] else {"relearn", "retrain", "unlearn"})


def test_mlflow_gets_it_in_a_group_of_its_own(root: Path, study: Path) -> None:
    store = Store.open(str(root))
    plan = StoredPlan.of(make_plan(load_study(study)))
    found = list(CellRuns(plan, read_results(plan, store), "parent"))
    (own,) = (one for one in found if " class:4 " in one.key and one.key.endswith("ct default"))
    assert 0 < own.metrics["relearn/anamnesis"] < 1 < own.metrics["relearn/steps"]
    assert not any("distill" in name for one in found for name in one.metrics)


def test_only_the_weights_that_the_study_keeps_are_left(study: Path, root: Path) -> None:
    plan = make_plan(load_study(study))
    assert with_weights(plan, Store.open(str(root))) == {u.id for u in plan.units.values() if u.kind == Kind.ORIGINAL}


@pytest.mark.parametrize(
    ("keep", "kinds"), [("none", set()), ("all", {Kind.ORIGINAL, Kind.RETRAIN, Kind.UNLEARN})], ids=["none", "all"]
)
def test_the_study_says_which_weights_stay(tmp_path: Path, keep: str, kinds: set[Kind]) -> None:
    study = tiny_study.write_study(
        tmp_path, STUDY, measures=ASKED, keep_models=keep, scenarios=["class:4"], methods=["ct"]
    )
    root, plan = tmp_path / "runs", make_plan(load_study(study))
    assert run(study, root).complete
    left = with_weights(plan, Store.open(str(root)))
    assert left == {unit.id for unit in plan.units.values() if unit.kind in kinds}


def test_weights_go_as_soon_as_their_trial_is_relearned(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, STUDY, measures=ASKED)
    root, plan = tmp_path / "runs", make_plan(load_study(study))
    store = Store.open(str(root))
    most: list[int] = []

    class Watching(Silent):
        def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
            most.append(len(with_weights(plan, store)))

    run(study, root, progress=Watching())
    assert max(most) == 2  # the original's and one trial's


@pytest.fixture
def broken() -> Iterator[pytest.MonkeyPatch]:
    """Relearning of ct raises until the patch is undone."""
    from harness.work import unit as work

    whole = work.relearn_trial

    def sometimes(unit: Unit, *rest: Any) -> Any:
        if unit.method.name == "ct":
            raise RuntimeError("out of luck")
        return whole(unit, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "relearn_trial", sometimes)
        yield patch


@pytest.mark.slow
@pytest.mark.parametrize("gone", [False, True], ids=["with its weights", "with no weights at all"])
def test_a_relearning_that_failed_runs_again(
    tmp_path: Path, root: Path, study: Path, broken: pytest.MonkeyPatch, gone: bool
) -> None:
    own = tmp_path / "runs"
    first = run(study, own)
    assert {(unit.kind, unit.method.name) for unit in first.failed} == {(Kind.RELEARN, "ct")}
    plan, store = first.plan, Store.open(str(own), write=True)
    kept = {unit.needs[0] for unit in first.failed}
    original = next(unit.id for unit in plan.units.values() if unit.kind == Kind.ORIGINAL)
    assert with_weights(plan, store) == kept | {original}
    broken.undo()
    if gone:
        shutil.rmtree(own / "models")
    noted = Noted()
    second = run(study, own, progress=noted)
    assert second.complete
    order = [unit.id for unit, _ in noted.ends]
    assert set(order) == {unit.id for unit in first.failed} | ({original, *kept} if gone else set())
    for unit in first.failed:
        if gone:
            assert order.index(original) < order.index(unit.needs[0]) < order.index(unit.id)
    assert with_weights(plan, store) == {original}
    assert run(study, own).ran == {}
    same = ("unit", "part", "metric")
    found, expected = (Store.open(str(one)).scan("metrics").collect().sort(same) for one in (own, root))
    numbers = [*same, "value"]
    assert found.select(numbers).equals(expected.select(numbers))


def test_a_study_that_ran_without_runs_its_trials_again_to_relearn_them(tmp_path: Path, root: Path) -> None:
    """What is new is new: the trials were committed, but nobody had kept their weights."""
    own = tmp_path / "runs"
    without = tiny_study.write_study(tmp_path, STUDY)
    before = run(without, own)
    asked = tiny_study.write_study(tmp_path, STUDY, measures=ASKED, name="asked")
    noted = Noted()
    summary = run(asked, own, progress=noted)
    again = Counter(unit.kind for unit, _ in noted.ends)
    assert again == {Kind.RELEARN: 6, Kind.UNLEARN: 4, Kind.RETRAIN: 2}
    assert "original" not in {unit.method.name for unit, _ in noted.ends}
    assert summary.cached == len(before.plan.units)
    store = Store.open(str(own))
    assert {unit.kind for unit in summary.plan.units.values() if store.has_model(unit.id)} == {Kind.ORIGINAL}
    found, expected = (
        Store.open(str(one)).scan("metrics").filter(kind="relearn").select("unit", "metric", "value").collect()
        for one in (own, root)
    )
    assert found.sort("unit", "metric").equals(expected.sort("unit", "metric"))


def test_the_price_of_relearning_is_known_once_some_was_done(study: Path, root: Path, tmp_path: Path) -> None:
    from harness.pricing.price import price

    plan, store = make_plan(load_study(study)), Store.open(str(root))
    found = price(relearning(plan), store, "all")
    spent = store.scan("units").filter(kind="relearn").collect()["seconds"].sum()
    assert (found.seconds, found.unpriced) == (pytest.approx(spent), 0)
    assert found.bytes < 6 * 20_000  # of rows alone: no weights stay
