"""Scenarios drawn by trained models, in a study: the models are planned once, and everything waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.planner import Plan, make_plan, with_needs
from harness.schedule.backlog import Backlog, Stage
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind, Unit

MODELS = 25
MEMORISED = f"memorised:high:0.02:{MODELS}"
DRAWN = {MEMORISED: MODELS, f"memorised:low:0.02:{MODELS}": MODELS, "loss:high:0.02": 1, "entangled:mid:0.02": 1}
"""Scenarios, and by how many models each is drawn."""
STUDY: dict[str, Any] = {**tiny_study.PLAIN, "name": "drawn", "methods": ["finetune"], "scenarios": [*DRAWN]}


def models(plan: Plan) -> dict[str, Unit]:
    return {unit.id: unit for unit in plan.units.values() if unit.method.name == "subset_model"}


studies = st.fixed_dictionaries(
    {
        "scenarios": st.lists(st.sampled_from([*DRAWN, "random:0.1"]), min_size=1, unique=True),
        "seeds": st.lists(st.integers(0, 2), min_size=1, unique=True),
        "methods": st.sampled_from([["finetune"], ["finetune", "multi_gan"], ["finetune", "sisa"]]),
        "measures": st.sampled_from([["accuracy"], ["accuracy", "run_time", "anamnesis", "mia_trio", "likeness"]]),
        "search": st.sampled_from([None, {"trials": 2, "sampler": "random", "seeds": 1}]),
    }
)


@settings(max_examples=20)
@given(studies)
def test_every_unit_of_such_a_scenario_comes_after_its_models_which_all_seeds_and_levels_share(
    tmp_path_factory: pytest.TempPathFactory, study: dict[str, Any]
) -> None:
    plan = tiny_study.plan_of(tmp_path_factory.getbasetemp(), STUDY, **study)
    seen: set[str] = set()
    for key, unit in plan.units.items():
        assert seen.issuperset(unit.comes_after)
        assert len(unit.evidence) == DRAWN.get(unit.scenario.name, 0)
        for one in map(plan.units.__getitem__, unit.evidence):
            assert (one.seed, one.scenario.name, one.comes_after) == (0, "", ())
            assert one.kind == (Kind.ARTIFACT if unit.scenario.name.startswith("memorised") else Kind.ORIGINAL)
        if unit.needs and unit.kind in (Kind.UNLEARN, Kind.SEARCH, Kind.TIMING):
            assert plan.units[unit.needs[0]].kind == Kind.ORIGINAL
            assert plan.units[unit.needs[0]].seed == unit.seed
        seen.add(key)
    asked = any(scenario.startswith("memorised") for scenario in study["scenarios"])
    assert len(models(plan)) == MODELS * asked
    assert len({unit.values["number"] for unit in models(plan).values()}) == MODELS * asked


def test_a_study_without_them_has_the_ids_that_it_always_had(tmp_path: Path) -> None:
    assert make_plan(load_study(tiny_study.write_study(tmp_path))).id == tiny_study.GOLDEN
    with_random = tiny_study.plan_of(tmp_path, STUDY, scenarios=["random:0.1", *DRAWN])
    alone = tiny_study.plan_of(tmp_path, STUDY, scenarios=["random:0.1"])
    assert alone.units.keys() < with_random.units.keys()


def test_models_begin_side_by_side_and_a_retrain_waits_for_all(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, STUDY, scenarios=[MEMORISED])
    backlog, first = Backlog(list(plan.units.values()), {}), set()
    while (suggestion := backlog.take(Stage.TOGETHER)) is not None:
        first.add(suggestion.unit.id)
    (original,) = (unit.id for unit in plan.units.values() if unit.kind == Kind.ORIGINAL)
    assert first == {*models(plan), original}
    *most, last = models(plan)
    for one in (original, *most):
        backlog.finished(one)
    assert not backlog.ready(Stage.TOGETHER)
    backlog.finished(last)
    assert backlog.ready(Stage.TOGETHER)


def test_models_that_are_gone_are_trained_again_before_what_is_drawn_by_them(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, STUDY, scenarios=[MEMORISED])
    retrain = next(unit for unit in plan.units.values() if unit.kind == Kind.RETRAIN)
    lost = next(iter(models(plan)))
    kept = set(plan.units) - {lost}
    assert {unit.id for unit in plan.remaining(set(plan.units) - {retrain.id}, kept)} == {lost, retrain.id}
    assert {unit.id for unit in with_needs(plan, [retrain])} == {*models(plan), retrain.id}


def test_such_a_study_runs_to_its_end_and_finds_nothing_to_do_again(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY, scenarios=[MEMORISED, "loss:low:0.02"]), tmp_path / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    ended = Store.open(str(root)).scan("units").collect()
    assert set(ended["status"]) == {"done"}
    metrics = Store.open(str(root)).scan("metrics").collect()
    retrains = metrics.filter((pl.col("kind") == "retrain") & (pl.col("metric") == "accuracy"))
    accuracy = {(one["scenario"], one["part"]): one["value"] for one in retrains.iter_rows(named=True)}
    assert accuracy[MEMORISED, "forget"] < accuracy["loss:low:0.02", "forget"], "what is memorised is not known without"
    tiny_study.harness("run", study, "--root", root, "--local")
    assert Store.open(str(root)).scan("units").collect().equals(ended)
