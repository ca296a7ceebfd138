"""Requests one after the other: planned as chains, run from the model of the request before, resumed anywhere."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import tiny_study
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from torch import nn

from harness import drive
from harness.contracts import FORGET, RETAIN, Run, View, method
from harness.ledger import Summary
from harness.planner import Plan, with_needs
from harness.selection import Selection
from harness.store import Store
from harness.unit import Kind, Unit
from harness.yamlfile import InvalidFile

MEASURES = ["accuracy", "run_time", "anamnesis", "mia_trio", "likeness"]
LAST = "sequence:3:0.05"
CHAIN = ["sequence:1:0.05", "sequence:2:0.05", LAST]
STUDY: dict[str, Any] = {**tiny_study.PLAIN, "name": "sequences", "scenarios": [LAST], "methods": ["raise_bias"]}


def of(plan: Plan, **columns: Any) -> list[Unit]:
    """Return the units with some columns, in the order of the plan."""
    return [unit for unit in plan.units.values() if columns.items() <= unit.columns().items()]


def plans(**changes: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "scenarios": st.lists(
                st.sampled_from(["random:0.1", "sequence:1:0.1", "sequence:2:0.1", "sequence:4:0.1", "sequence:2:0.2"]),
                min_size=1,
                unique=True,
            ),
            "methods": st.sampled_from([["finetune"], ["ct", "finetune"], [{"finetune": {"epochs": 1}}, "finetune"]]),
            "measures": st.lists(st.sampled_from(MEASURES[1:]), unique=True).map(lambda some: ["accuracy", *some]),
            "seeds": st.sampled_from([1, [3, 1]]),
            "originals": st.sampled_from(["per_seed", "shared"]),
        }
    )


@settings(max_examples=25)
@given(plans(), st.data())
def test_each_request_starts_from_the_same_method_s_model_of_the_one_before(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], data: st.DataObject
) -> None:
    plan = tiny_study.plan_of(tmp_path_factory.getbasetemp(), STUDY, **changes)
    at_work = [unit for unit in plan.units.values() if unit.kind in (Kind.UNLEARN, Kind.TIMING)]
    for unit in at_work:
        name, _, share = unit.scenario.name.rpartition(":")
        number = int(name.partition(":")[2]) if name.startswith("sequence:") else 1
        if unit.kind == Kind.TIMING and unit.method.name == "retrain":
            assert not unit.needs
            continue
        start = plan.units[unit.needs[0]]
        if number == 1 or unit.method.name == "original":
            assert start.kind == Kind.ORIGINAL
            assert start.seed == (plan.study.seeds[0] if changes["originals"] == "shared" else unit.seed)
            continue
        assert (start.kind, start.scenario.name) == (Kind.UNLEARN, f"sequence:{number - 1}:{share}")
        assert (start.method, start.config, start.seed) == (unit.method, unit.config, unit.seed)
        assert start.is_start
    for unit in plan.units.values():
        if unit.kind == Kind.RETRAIN:
            assert not unit.needs
        if unit.kind in (Kind.RELEARN, Kind.COMPARE):
            assert plan.units[unit.needs[1 if unit.kind == Kind.RELEARN else 2]].kind == Kind.ORIGINAL
    _check_what_remains(plan, data)


def _check_what_remains(plan: Plan, data: st.DataObject) -> None:
    """Whatever has run and whatever weights are left: what remains can run in its order, and nothing else does."""
    ids = sorted(plan.units)
    drawn, models = (data.draw(st.sets(st.sampled_from(ids))) for _ in range(2))
    for committed in (drawn, *(set(ids) - {one} for one in ids)):
        there, again = set(models), set(committed)
        for unit in plan.remaining(committed, models):
            assert there.issuperset(unit.needs)
            assert unit.id not in committed & models
            there.add(unit.id)
            again.add(unit.id)
        assert again == set(ids)
    chosen = with_needs(plan, [plan.units[key] for key in data.draw(st.sets(st.sampled_from(ids), max_size=3))])
    seen: set[str] = set()
    for unit in chosen:
        assert seen.issuperset(unit.needs)
        seen.add(unit.id)


def test_a_longer_sequence_adds_requests_and_changes_none(tmp_path: Path) -> None:
    short, long = (
        tiny_study.plan_of(tmp_path, STUDY, methods=["finetune"], scenarios=[text], measures=MEASURES)
        for text in ("sequence:2:0.05", "sequence:4:0.05")
    )
    assert short.units.keys() < long.units.keys()
    added = {unit.scenario.name for key, unit in long.units.items() if key not in short.units}
    assert added == {"sequence:3:0.05", "sequence:4:0.05"}


def test_requests_that_follow_each_other_are_not_searched(tmp_path: Path) -> None:
    searched = {"search": {"trials": 2, "seeds": 1}, "methods": ["finetune"]}
    with pytest.raises(InvalidFile, match=r"sequence:2:0\.05: there is no search over requests that follow each other"):
        tiny_study.plan_of(tmp_path, STUDY, scenarios=["random:0.1", "sequence:2:0.05"], **searched)
    alone = tiny_study.plan_of(tmp_path, STUDY, scenarios=["sequence:1:0.05"], **searched)
    assert of(alone, kind="search")


class Calls:
    """What the method of these tests was given, call by call, and what happens at some call (0: at none)."""

    retained: ClassVar[list[int]] = []
    breaks_at: ClassVar[int] = 0
    diverges_at: ClassVar[int] = 0


@pytest.fixture(autouse=True)
def _method(declaring: None, without_mlflow: None) -> None:
    """Declare a method whose every step shows in the weights."""
    Calls.retained, Calls.breaks_at, Calls.diverges_at = [], 0, 0

    @method(reads={RETAIN, FORGET}, scenarios={"random"}, source="a test")
    class RaiseBias:
        """Add 1 to one weight: whoever starts from the model of the request before is one further."""

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            Calls.retained.append(len(data.retain))
            if len(Calls.retained) == Calls.breaks_at:
                raise RuntimeError("broken on purpose")
            with torch.no_grad():
                step = math.nan if len(Calls.retained) == Calls.diverges_at else 1
                next(iter(model.parameters())).view(-1)[0].add_(step)
            return model


def run(study: Path, root: Path, **where: str) -> Summary:
    """Run what is left, without views."""
    return drive.run(study, str(root), selection=Selection(where), views=lambda plan, store: None)


def first_weight(store: Store, unit: Unit, before: Unit) -> float:
    """Return what the first weight of a model has more than that of another one; all others must be equal."""
    state, known = store.load_model(unit.id), store.load_model(before.id)
    name = next(name for name in known if not torch.equal(state[name], known[name]))
    difference = (state[name] - known[name]).view(-1)
    assert not difference[1:].any()
    assert all(torch.equal(state[one], known[one]) for one in known if one != name)
    return float(difference[0])


def test_a_method_goes_on_from_its_own_model_and_nothing_forgotten_comes_back(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, STUDY, keep_models="all", measures=["accuracy", "anamnesis"])
    plan, root = tiny_study.plan_of(tmp_path, STUDY, keep_models="all"), tmp_path / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    store = Store.open(str(root))
    original, *trials = [*of(plan, kind="original"), *of(plan, kind="unlearn", method="raise_bias")]
    assert [first_weight(store, unit, original) for unit in trials] == pytest.approx([1, 2, 3], abs=1e-5)
    first, second, third = Calls.retained
    assert first - second == second - third > 0
    digests = {row["unit"]: row["model"] for row in store.scan("units").collect().iter_rows(named=True)}
    assert len({digests[unit.id] for unit in (original, *trials)}) == 4
    idle = of(plan, kind="unlearn", method="original")
    assert {digests[unit.id] for unit in idle} == {digests[original.id]}
    found = store.scan("metrics").filter(metric="accuracy", part="forgotten_before").collect()
    assert {(row["scenario"], row["method"]) for row in found.iter_rows(named=True)} == {
        (scenario, name) for scenario in CHAIN[1:] for name in ("retrain", "original", "raise_bias")
    }
    page = (root / "reports" / "sequences" / "index.html").read_text()
    for words in (
        "One request after the other",
        f"{LAST}: over 3 requests",
        "request 3",
        "largest rebound",
        "mean gap",
    ):
        assert words in page


def test_a_run_that_ended_after_the_first_request_goes_on_to_the_same_tables(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "methods": [{"finetune": {"epochs": 1}}],
        "measures": ["accuracy", "anamnesis", "run_time"],
    }
    study, plan = tiny_study.write_study(tmp_path, STUDY, **asked), tiny_study.plan_of(tmp_path, STUDY, **asked)
    (first,) = of(plan, kind="unlearn", method="finetune", scenario=CHAIN[0])
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert run(study, whole).complete
    run(study, parted, scenario=CHAIN[0])
    lost = Path(shutil.copytree(parted, tmp_path / "lost"))
    Store.open(str(lost), write=True).drop_model(first.id)
    for root in (parted, lost):
        store = Store.open(str(root))
        assert store.committed() == {unit.id for unit in plan.units.values() if unit.scenario.name in ("", CHAIN[0])}
        assert store.has_model(first.id) == (root == parted), "the next request starts from it"
        assert run(study, root).complete
        for name, expected in tiny_study.tables(whole).items():
            assert_frame_equal(tiny_study.tables(root)[name], expected, check_exact=True)
        left = [unit.kind for unit in plan.units.values() if Store.open(str(root)).has_model(unit.id)]
        assert left == [Kind.ORIGINAL], "weights of trials go once nothing starts from them"


def test_requests_after_one_that_failed_wait_until_it_is_mended(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY), tmp_path / "runs"
    plan = tiny_study.plan_of(tmp_path, STUDY)
    Calls.breaks_at = 2
    found = run(study, root)
    assert (len(found.failed), found.not_tried) == (1, 1)
    store, trials = Store.open(str(root)), of(plan, kind="unlearn", method="raise_bias")
    missing = [key for key in plan.units if key not in store.committed()]
    assert missing == [trials[1].id, trials[2].id]
    failures = store.scan("failures").collect()
    assert failures["unit"].to_list() == [trials[1].id]
    Calls.breaks_at = 0
    assert run(study, root).complete
    units = Store.open(str(root)).scan("units").filter(pl.col("method") == "raise_bias").sort("scenario").collect()
    assert units["status"].to_list() == ["done"] * 3
    assert units["attempt"].to_list() == [1, 2, 1]


def test_a_method_that_diverges_stays_diverged(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY), tmp_path / "runs"
    Calls.diverges_at = 2
    assert run(study, root).complete, "to diverge is a result"
    units = Store.open(str(root)).scan("units").filter(pl.col("method") == "raise_bias").sort("scenario").collect()
    assert units["status"].to_list() == ["done", "diverged", "diverged"]


def test_weights_that_a_killed_driver_has_left_go_with_the_next_run_also_if_nothing_is_left_to_run(
    tmp_path: Path,
) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY), tmp_path / "runs"
    assert run(study, root).complete
    first, *_, last = of(tiny_study.plan_of(tmp_path, STUDY), kind="unlearn", method="raise_bias")
    store = Store.open(str(root), write=True)
    for unit in (first, last):  # killed between the last commit and the end of the run
        store.save_model(unit.id, {"weight": torch.zeros(1)})
    assert run(study, root).complete
    assert not store.has_model(first.id)
    assert store.has_model(last.id), "nothing here starts from it: somebody else has saved it"


def test_models_that_are_gone_are_made_again_one_after_the_other_for_what_is_asked_later(tmp_path: Path) -> None:
    root, asked = tmp_path / "runs", {"measures": ["accuracy", "anamnesis"]}
    assert run(tiny_study.write_study(tmp_path, STUDY), root).complete
    assert len(Calls.retained) == 3
    plan = tiny_study.plan_of(tmp_path, STUDY, **asked)
    trials = of(plan, kind="unlearn", method="raise_bias")
    assert not any(Store.open(str(root)).has_model(unit.id) for unit in trials)
    found = run(tiny_study.write_study(tmp_path, STUDY, **asked), root)
    assert found.complete
    assert Calls.retained[3:] == Calls.retained[:3]
    assert not any(Store.open(str(root)).has_model(unit.id) for unit in trials), "and go when they were looked at"
