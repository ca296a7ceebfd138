"""Plans: known before anything runs, equal everywhere, growing without changing what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness import registry
from harness.contracts import METHODS, RETAIN, Run, View, method
from harness.planner import Plan, make_plan, make_plan_of_trials, stage, with_needs
from harness.study import load_study
from harness.unit import Kind, Unit

registry.load()

COUNTS = {
    "original": 2,
    "retrain": 2,
    "unlearn": 6,
    "shadow": 4,
    "shadow_retrain": 4,
    "shadow_unlearn": 24,
    "timing": 6,
}
OF_TRAINING = {"sisa": "sisa_training", "amnesiac_delta": "logged_training"}
"""Methods and what they need of the training."""
RANDOM_AND_CLASS = ("random", "class")
NAMES = [name for name in METHODS if not METHODS[name].reference and all(map(METHODS[name].supports, RANDOM_AND_CLASS))]


def test_the_plan_is_the_golden_one(tiny: Path) -> None:
    plan = make_plan(load_study(tiny))
    assert (plan.id, plan.counts()) == (tiny_study.GOLDEN, COUNTS)


@pytest.mark.parametrize("trials", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_the_suite_of_deep_unlearn_counts_what_its_commands_count(trials: int) -> None:
    study = load_study("deep_unlearn")
    assert study.search is not None
    assert study.search.trials == 100
    plan = make_plan(replace(study, search=replace(study.search, trials=trials)))
    settings, methods, seeds = 5 * 2, 18, 10
    assert plan.counts() == {
        "original": settings * seeds,
        "retrain": settings * seeds,
        "search": settings * methods * 3 * trials,
        "unlearn": settings * (methods + 1) * seeds,
        "timing": settings * (methods + 1) * seeds,
    }
    assert not plan.left_out
    tried = {unit.seed for unit in plan.units.values() if unit.kind == Kind.SEARCH}
    assert tried == {0, 1, 2}


def test_the_published_farm_and_ours_ask_the_same_methods() -> None:
    ours, published = (load_study(name) for name in ("ulira", "ulira_64x10"))
    assert [choice.spec.name for choice in ours.methods] == [choice.spec.name for choice in published.methods]
    counts = make_plan(replace(published, search=None)).counts()
    assert counts["shadow"] == 64
    assert counts["shadow_retrain"] == 640
    assert counts["shadow_unlearn"] == 640 * (6 + 1)


def test_a_farm_audits_the_methods_that_it_names(tmp_path: Path) -> None:
    farm = tiny_study.TINY["farm"] | {"methods": ["ct"]}
    plan = tiny_study.plan_of(tmp_path, farm=farm)
    audited = {unit.method.name for unit in plan.units.values() if unit.kind == Kind.SHADOW_UNLEARN}
    assert audited == {"ct", "original"}
    whole = tiny_study.plan_of(tmp_path)
    assert plan.units.keys() < whole.units.keys(), "what is audited has the ids that it always had"


def test_the_digits_suite_counts_what_its_file_says() -> None:
    plan = make_plan(load_study("digits"))
    study, farm = plan.study, plan.study.farm
    assert farm is not None
    seeds, trials = len(study.seeds), len([c for c in study.methods if not c.spec.reference])
    pools = len(farm.ref.pools)
    assert plan.counts() == {
        "original": seeds,
        "retrain": seeds,
        "unlearn": seeds * (trials + 1),  # and the original itself, evaluated in the scenario
        "shadow": farm.shadows,
        "shadow_retrain": farm.retrains * pools,
        "shadow_unlearn": farm.shadows * (trials + 1) * pools,
        "timing": seeds * (trials + 1),  # and the retrain
    }


def test_ids_are_the_same_without_the_data_elsewhere_and_later(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time, socket; time.time = lambda: 0.0; socket.gethostname = lambda: 'elsewhere'\n"
        "import harness; print(harness.plan(harness.load_study(sys.argv[1])).id)"
    )
    nowhere = str(tmp_path / "nowhere")
    environment = os.environ | {"HARNESS_DATA": nowhere, "HARNESS_ROOT": nowhere, "PYTHONHASHSEED": "7", "TZ": "UTC-9"}
    command = [sys.executable, "-c", code, str(tiny)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tiny_study.GOLDEN
    assert not Path(nowhere).exists()


def test_how_a_study_is_run_is_no_part_of_any_id(tmp_path: Path) -> None:
    units = tiny_study.plan_of(tmp_path).units
    for change in ({"time_limit": 5}, {"keep_models": "all"}, {"question": "Another?"}, {"name": "other"}):
        assert tiny_study.plan_of(tmp_path, **change).units == units


def test_order_and_repetition_in_the_file_change_no_unit(tmp_path: Path) -> None:
    units = set(tiny_study.plan_of(tmp_path).units)
    changes: dict[str, Any] = {"methods": ["ct", "finetune", "ct"], "seeds": [1, 0, 1], "datasets": ["digits", "digi*"]}
    assert set(tiny_study.plan_of(tmp_path, **changes).units) == units


studies = st.fixed_dictionaries(
    {
        "methods": st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        "scenarios": st.lists(st.sampled_from(["random:0.1", "random:0.25", "class:3"]), min_size=1, unique=True),
        "architectures": st.lists(st.sampled_from(["cnn_small", "resnet18"]), min_size=1, unique=True),
        "datasets": st.lists(st.sampled_from(["digits", "digits@1000"]), min_size=1, unique=True),
        "seeds": st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        "farm": st.fixed_dictionaries({"shadows": st.sampled_from([0, 2, 6])}),
    }
)


@settings(max_examples=20)
@given(studies)
def test_units_come_after_their_needs_and_stages_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, study: Mapping[str, Any]
) -> None:
    plan = tiny_study.plan_of(tmp_path_factory.getbasetemp(), **study)
    seen: set[str] = set()
    for key, unit in plan.units.items():
        assert key == unit.id
        assert seen.issuperset(unit.needs)
        borrowed = {"multi_gan": 2, **dict.fromkeys(OF_TRAINING, 1)} if unit.kind == Kind.UNLEARN else {}
        starts = unit.method.name != "retrain" and not unit.kind.from_scratch and not _is_of_training(unit)
        assert len(unit.needs) == borrowed.get(unit.method.name, 0) + starts
        seen.add(key)
    stages = [stage(unit.kind) for unit in plan.units.values()]
    assert stages == sorted(stages)
    assert plan.counts() == Counter(unit.kind.value for unit in plan.units.values())


def _is_of_training(unit: Unit) -> bool:
    return unit.kind == Kind.ARTIFACT and unit.method.name in OF_TRAINING.values()


@settings(max_examples=20)
@given(studies, st.sets(st.sampled_from(sorted(OF_TRAINING)), min_size=1), st.sampled_from(["per_seed", "shared"]))
def test_what_is_of_the_training_is_one_for_all_scenarios_and_another_for_each_seed(
    tmp_path_factory: pytest.TempPathFactory, study: Mapping[str, Any], methods: set[str], originals: str
) -> None:
    asked = {**study, "methods": sorted({*study["methods"], *methods})}
    plan = tiny_study.plan_of(tmp_path_factory.getbasetemp(), **asked, originals=originals)
    made = {unit.id: unit for unit in plan.units.values() if _is_of_training(unit)}
    assert all(not unit.needs and not unit.scenario.name for unit in made.values())
    wanted = OF_TRAINING.keys() & set(asked["methods"])
    keys = {(unit.dataset.label, unit.architecture.name, unit.seed, unit.method.name) for unit in made.values()}
    assert len(made) == len(keys)
    assert len(keys) == len(wanted) * len(set(study["seeds"])) * len(study["datasets"]) * len(study["architectures"])
    for unit in plan.units.values():
        borrowed = [made[need] for need in unit.needs if need in made]
        if unit.kind == Kind.UNLEARN and unit.method.name in OF_TRAINING:
            (one,) = borrowed
            assert one.method.name == OF_TRAINING[unit.method.name]
            assert (one.seed, one.dataset, one.architecture, one.recipe) == (
                unit.seed,
                unit.dataset,
                unit.architecture,
                unit.recipe,
            )
        else:
            assert not borrowed


@settings(max_examples=20)
@given(studies)
def test_the_counts_follow_from_the_lists(tmp_path_factory: pytest.TempPathFactory, study: Mapping[str, Any]) -> None:
    plan = tiny_study.plan_of(tmp_path_factory.getbasetemp(), **study)
    places = len(study["datasets"]) * len(study["architectures"])
    starts = places * len(study["seeds"])
    judged = "multi_gan" in study["methods"]
    cells, methods = starts * len(study["scenarios"]), len(study["methods"]) + 1
    shadows = study["farm"]["shadows"]
    expected = {
        # One serves every scenario, and the one of seed 0 judges all artifacts.
        Kind.ORIGINAL: starts + places * (judged and 0 not in study["seeds"]),
        Kind.RETRAIN: cells,
        # GANs are made for each forget set, what is of the training for each seed.
        Kind.ARTIFACT: places * len(study["scenarios"]) * 2 * judged
        + starts * len(OF_TRAINING.keys() & set(study["methods"])),
        Kind.UNLEARN: cells * methods,
        Kind.TIMING: cells * methods,
        Kind.SHADOW: places * shadows,
        Kind.SHADOW_RETRAIN: places * (shadows // 4 * 2) * 2,
        Kind.SHADOW_UNLEARN: places * shadows * methods * 2,
    }
    assert plan.counts() == {kind.value: count for kind, count in expected.items() if count}


@settings(max_examples=20)
@given(studies, studies)
def test_asking_for_more_keeps_every_unit(
    tmp_path_factory: pytest.TempPathFactory, one: Mapping[str, Any], other: Mapping[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    both: dict[str, Any] = {key: list(dict.fromkeys([*one[key], *other[key]])) for key in one if key != "farm"}
    both["farm"] = {"shadows": max(one["farm"]["shadows"], other["farm"]["shadows"])}
    wide = set(tiny_study.plan_of(folder, **both).units)
    assert wide.issuperset(tiny_study.plan_of(folder, **one).units)
    assert wide.issuperset(tiny_study.plan_of(folder, **other).units)


@pytest.mark.parametrize(
    "change",
    [{"recipe": {"epochs": 2}}, {"datasets": ["digits@1700"]}, {"architectures": ["resnet18"]}, {"seeds": [2, 3]}],
    ids=str,
)
def test_another_training_shares_no_trial(tmp_path: Path, change: dict[str, Any]) -> None:
    before, after = tiny_study.plan_of(tmp_path), tiny_study.plan_of(tmp_path, **change)
    shared = [before.units[key] for key in before.units.keys() & after.units.keys()]
    assert all(unit.kind.of_farm and "seeds" in change for unit in shared)


SEARCHED = {"search": {"trials": 2, "sampler": "random", "seeds": 2}, "methods": ["finetune"], "seeds": [3, 1, 2]}


def test_shared_originals_are_one_and_every_trial_starts_from_it(tmp_path: Path) -> None:
    measures = ["accuracy", "run_time", "anamnesis"]
    plan = tiny_study.plan_of(tmp_path, originals="shared", measures=measures, farm=None, **SEARCHED)
    by_kind = {kind: [unit for unit in plan.units.values() if unit.kind == kind] for kind in Kind}
    (original,) = by_kind[Kind.ORIGINAL]
    assert original.seed == 3, "the first of the study"
    for kind in (Kind.UNLEARN, Kind.SEARCH, Kind.TIMING):
        starting = [unit for unit in by_kind[kind] if unit.method.name != "retrain"]
        assert {unit.seed for unit in starting} == ({3, 1} if kind == Kind.SEARCH else {3, 1, 2})
        assert {unit.needs for unit in starting} == {(original.id,)}
    assert {unit.needs[1] for unit in by_kind[Kind.RELEARN]} == {original.id}
    done_nothing = [unit for unit in by_kind[Kind.UNLEARN] if unit.method.name == "original"]
    assert [unit.seed for unit in done_nothing] == [3, 1, 2], "the reference has a row for each seed"
    assert len(plan.units) == len({unit.id for unit in plan.units.values()})


def test_only_what_starts_elsewhere_has_another_id(tmp_path: Path) -> None:
    own = tiny_study.plan_of(tmp_path)
    assert tiny_study.plan_of(tmp_path, originals="per_seed").units == own.units
    shared = tiny_study.plan_of(tmp_path, originals="shared")
    lost = [own.units[key] for key in own.units.keys() - shared.units.keys()]
    first, second = own.study.seeds
    assert {unit.seed for unit in lost} == {second}
    assert {unit.kind for unit in lost} == {Kind.ORIGINAL, Kind.UNLEARN, Kind.TIMING}
    assert all(unit.method.name != "retrain" for unit in lost)
    new = [shared.units[key] for key in shared.units.keys() - own.units.keys()]
    assert {(unit.kind, unit.seed) for unit in new} == {(Kind.UNLEARN, second), (Kind.TIMING, second)}
    assert first not in {unit.seed for unit in new}


def test_other_pools_are_another_farm(tmp_path: Path) -> None:
    before = tiny_study.plan_of(tmp_path)
    for farm in (
        {"seed": 1},
        {"pools": {"clean": {"size": 40}}},
        {"pools": {"canary": {"size": 42}, "clean": {"size": 40}}},
    ):
        after = tiny_study.plan_of(tmp_path, farm={**tiny_study.TINY["farm"], **farm})
        shared = {before.units[key].kind for key in before.units.keys() & after.units.keys()}
        assert not any(kind.of_farm for kind in shared)


def test_the_farm_counts_shadows_retrains_methods_and_pools(tmp_path: Path) -> None:
    farm = {"shadows": 8, "retrains": 2, "pools": {"a": {"size": 8}, "b": {"size": 8}, "c": {"size": 8}}}
    plan = tiny_study.plan_of(tmp_path, farm=farm)
    units = [unit for unit in plan.units.values() if unit.kind.of_farm]
    count = Counter(unit.kind for unit in units)
    assert count == {Kind.SHADOW: 8, Kind.SHADOW_RETRAIN: 2 * 3, Kind.SHADOW_UNLEARN: 8 * 3 * 3}
    shadows = {unit.id: unit for unit in units if unit.kind == Kind.SHADOW}
    for unit in units:
        if unit.kind == Kind.SHADOW_UNLEARN:
            assert shadows[unit.needs[0]].seed == unit.seed
        if unit.kind != Kind.SHADOW:
            assert (unit.scenario.name, unit.pool in "abc") == (f"audit:{unit.pool}", True)
    assert {unit.seed for unit in units if unit.kind == Kind.SHADOW_RETRAIN} == {0, 1}


def test_methods_for_classes_alone_are_not_audited(tmp_path: Path, declaring: None) -> None:
    @method(reads={RETAIN}, scenarios={"class"}, source="a test")
    class ClassesOnly:
        """Forget whole classes."""

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    plan = tiny_study.plan_of(tmp_path, methods=["classes_*", "ct"], scenarios=["random:0.1", "class:3"])
    where = {(unit.kind, unit.scenario.name) for unit in plan.units.values() if unit.method.name == "classes_only"}
    assert where == {(Kind.UNLEARN, "class:3"), (Kind.TIMING, "class:3")}
    assert plan.left_out == ("classes_only does not support random:0.1",)


def test_without_their_measures_there_is_no_farm_and_no_timing(tmp_path: Path) -> None:
    kinds = tiny_study.plan_of(tmp_path, measures=["accuracy"]).counts()
    assert set(kinds) == {"original", "retrain", "unlearn"}


def test_only_the_first_seeds_are_timed_where_a_study_says_how_many(tmp_path: Path) -> None:
    whole = tiny_study.plan_of(tmp_path, seeds=[5, 2, 3])
    few = tiny_study.plan_of(tmp_path, seeds=[5, 2, 3], timed_seeds=2)
    left_out = [unit for key, unit in whole.units.items() if key not in few.units]
    assert few.units.keys() < whole.units.keys()
    assert {(unit.kind, unit.seed) for unit in left_out} == {(Kind.TIMING, 3)}
    assert {unit.seed for unit in few.units.values() if unit.kind == Kind.TIMING} == {5, 2}


RELEARNING = {"measures": ["accuracy", "run_time", "anamnesis"]}


@pytest.mark.parametrize("search", [None, {"trials": 4, "population": 2}])
def test_each_trial_but_doing_nothing_is_relearned_from_its_own_weights(
    tmp_path: Path, search: dict[str, Any] | None
) -> None:
    plan = tiny_study.plan_of(tmp_path, **RELEARNING, search=search)
    units = plan.units
    relearning = [unit for unit in units.values() if unit.kind == Kind.RELEARN]
    assert Counter(unit.method.name for unit in relearning) == {"retrain": 2, "finetune": 2, "ct": 2}
    for unit in relearning:
        trial, original = (units[need] for need in unit.needs)
        assert trial.kind == (Kind.RETRAIN if unit.method.name == "retrain" else Kind.UNLEARN)
        assert (original.kind, original.seed) == (Kind.ORIGINAL, unit.seed)
        own = {name: value for name, value in unit.columns().items() if name not in ("unit", "kind")}
        assert own.items() <= trial.columns().items()
        assert {*trial.needs} <= {*unit.needs}  # so that what is gone can be made again
        assert trial.started_from
    assert {unit.id for unit in units.values() if unit.started_from} == {unit.needs[0] for unit in relearning}
    assert {stage(unit.kind) for unit in relearning} == {0}
    seen: set[str] = set()
    for key, unit in units.items():
        assert seen.issuperset(unit.needs)
        seen.add(key)


def test_relearning_adds_units_and_changes_none(tmp_path: Path) -> None:
    without = tiny_study.plan_of(tmp_path, measures=["accuracy", "run_time"])
    relearned = tiny_study.plan_of(tmp_path, **RELEARNING)
    assert set(without.units) == {key for key, unit in relearned.units.items() if unit.kind != Kind.RELEARN}
    assert not any(unit.started_from for unit in without.units.values())


def test_a_trial_whose_weights_are_gone_runs_again_before_it_is_relearned(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, **RELEARNING)
    waiting = next(unit for unit in plan.units.values() if unit.kind == Kind.RELEARN)
    committed = set(plan.units) - {waiting.id}
    trial, original = waiting.needs
    assert [unit.id for unit in plan.remaining(committed, {trial, original})] == [waiting.id]
    assert {unit.id for unit in plan.remaining(committed, {original})} == {trial, waiting.id}
    again = [unit.id for unit in plan.remaining(committed, set())]
    assert again.index(original) < again.index(trial) < again.index(waiting.id)
    assert plan.remaining(set(plan.units), set()) == []


@pytest.mark.parametrize("also", [[], ["anamnesis"]], ids=["alone", "with relearning"])
def test_each_trial_is_attacked_once_doing_nothing_too_and_no_other_unit_changes(
    tmp_path: Path, also: list[str]
) -> None:
    measures = ["accuracy", "run_time", *also]
    without = tiny_study.plan_of(tmp_path, measures=measures)
    plan = tiny_study.plan_of(tmp_path, measures=[*measures, "mia_trio"])
    attacks = [unit for unit in plan.units.values() if unit.kind == Kind.ATTACK]
    assert Counter(unit.method.name for unit in attacks) == {"retrain": 2, "original": 2, "finetune": 2, "ct": 2}
    for unit in attacks:
        trial = plan.units[unit.needs[0]]
        assert trial.kind == (Kind.RETRAIN if unit.method.name == "retrain" else Kind.UNLEARN)
        assert unit.needs[1:] == trial.needs  # so that what is gone can be made again
        own = {name: value for name, value in unit.columns().items() if name not in ("unit", "kind")}
        assert own.items() <= trial.columns().items()
    assert {unit.id for unit in plan.units.values() if unit.started_from} == {unit.needs[0] for unit in attacks}
    assert set(without.units) == {key for key, unit in plan.units.items() if unit.kind != Kind.ATTACK}
    order = list(plan.units)
    assert all(order.index(need) < order.index(unit.id) for unit in attacks for need in unit.needs)
    assert stage(Kind.ATTACK) == 0


LIKENESS = {"measures": ["accuracy", "run_time", "likeness"]}


@pytest.mark.parametrize("changes", [{}, SEARCHED, {"originals": "shared"}, {"seeds": 1}], ids=str)
def test_each_trial_is_compared_with_its_retrain_and_a_retrain_with_that_of_the_next_seed(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    asked = {"scenarios": ["random:0.1", "class:3"], "seeds": [4, 0, 7]} | changes
    plan = tiny_study.plan_of(tmp_path, **asked, **LIKENESS)
    units, seeds = plan.units, plan.study.seeds
    comparisons = [unit for unit in units.values() if unit.kind == Kind.COMPARE]
    trials = [unit for unit in units.values() if unit.kind in (Kind.UNLEARN, Kind.RETRAIN)]
    of_methods = [one for one in trials if one.kind == Kind.UNLEARN]
    assert len(comparisons) == len(of_methods) + (len(seeds) > 1) * 2 * len(seeds)
    assert len({unit.needs[0] for unit in comparisons}) == len(comparisons)
    for unit in comparisons:
        trial, retrain, original = (units[need] for need in unit.needs[:3])
        assert trial.kind == (Kind.RETRAIN if unit.method.name == "retrain" else Kind.UNLEARN)
        own = {name: value for name, value in unit.columns().items() if name not in ("unit", "kind")}
        assert own.items() <= trial.columns().items()
        step = int(trial.kind == Kind.RETRAIN)
        assert retrain.seed == seeds[(seeds.index(trial.seed) + step) % len(seeds)]
        assert (retrain.kind, retrain.cell) == (Kind.RETRAIN, trial.cell)
        assert original.kind == Kind.ORIGINAL
        assert original.seed == (seeds[0] if asked.get("originals") else trial.seed)
        assert {*trial.needs} <= {*unit.needs}  # so that what is gone can be made again
        assert len({*unit.needs}) == len(unit.needs)
        assert stage(unit.kind) == 0
    started = {unit.id for unit in units.values() if unit.started_from}
    assert started == {need for unit in comparisons for need in unit.needs[:2]}
    assert {unit.id for unit in trials} == started
    seen: set[str] = set()
    for key, unit in units.items():
        assert seen.issuperset(unit.needs)
        seen.add(key)
    without = tiny_study.plan_of(tmp_path, **asked, measures=["accuracy", "run_time"])
    assert set(without.units) == {key for key, unit in units.items() if unit.kind != Kind.COMPARE}


@pytest.mark.parametrize("changes", [{}, SEARCHED, {"originals": "shared"}, {"seeds": 1}], ids=str)
def test_each_trial_is_probed_once_references_too_and_no_other_unit_changes(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    asked = {"scenarios": ["random:0.1", "class:3"], "seeds": [4, 0]} | changes
    without = tiny_study.plan_of(tmp_path, **asked, measures=["accuracy", "run_time"])
    plan = tiny_study.plan_of(tmp_path, **asked, measures=["accuracy", "run_time", "probes"])
    probes = [unit for unit in plan.units.values() if unit.kind == Kind.PROBE]
    trials = {key for key, unit in plan.units.items() if unit.kind in (Kind.UNLEARN, Kind.RETRAIN)}
    assert {unit.needs[0] for unit in probes} == trials
    assert {unit.id for unit in plan.units.values() if unit.started_from} == trials
    assert len(probes) == len(trials)
    for unit in probes:
        trial = plan.units[unit.needs[0]]
        assert unit.needs[1:] == trial.needs  # so that what is gone can be made again
        own = {name: value for name, value in unit.columns().items() if name not in ("unit", "kind")}
        assert own.items() <= trial.columns().items()
    assert set(without.units) == {key for key, unit in plan.units.items() if unit.kind != Kind.PROBE}
    order = list(plan.units)
    assert all(order.index(need) < order.index(unit.id) for unit in probes for need in unit.needs)
    assert stage(Kind.PROBE) == 0


def subsets(plan: Plan) -> st.SearchStrategy[set[str]]:
    return st.sets(st.sampled_from(sorted(plan.units)))


@given(st.data())
def test_what_remains_is_not_committed_or_needed_without_its_weights(tiny: Path, data: st.DataObject) -> None:
    plan = make_plan(load_study(tiny))
    committed, models = data.draw(subsets(plan)), data.draw(subsets(plan))
    wanted = set(plan.units) - committed
    wanted |= {need for key in wanted for need in plan.units[key].needs if need not in models}
    remaining = plan.remaining(committed, models)
    assert [unit.id for unit in remaining] == [key for key in plan.units if key in wanted]


def test_nothing_remains_when_all_is_committed_even_without_weights(tiny: Path) -> None:
    plan = make_plan(load_study(tiny))
    assert plan.remaining(set(plan.units), set()) == []
    assert plan.remaining(set(), set()) == list(plan.units.values())


@given(st.data())
def test_what_is_chosen_brings_its_needs_in_the_order_of_the_plan(tiny: Path, data: st.DataObject) -> None:
    plan = make_plan(load_study(tiny))
    chosen = [plan.units[key] for key in data.draw(subsets(plan))]
    wanted = {unit.id for unit in chosen} | {need for unit in chosen for need in unit.needs}
    assert [unit.id for unit in with_needs(plan, chosen)] == [key for key in plan.units if key in wanted]


@pytest.mark.parametrize("suite", ["digits18", "fashion18"])
def test_the_plan_of_trials_lacks_searches_and_farm_alone(suite: str) -> None:
    study = load_study(suite)
    assert study.search is not None
    study = replace(study, search=replace(study.search, trials=2, seeds=(0, 77)))  # one of them is no seed of the study
    whole, trials = make_plan(study), make_plan_of_trials(study)
    kept = {unit.id: unit for unit in whole.units.values() if unit.kind != Kind.SEARCH and not unit.kind.of_farm}
    assert list(trials.units.items()) == list(kept.items())
    assert 0 < len(kept) < len(whole.units)


def test_the_stored_document_gives_the_units_back(tiny: Path) -> None:
    plan = make_plan(load_study(tiny))
    document = json.loads(json.dumps(plan.to_json()))
    assert (document["id"], document["study"]) == (plan.id, "tiny")
    back = [Unit.from_json(unit) for unit in document["units"]]
    assert back == list(plan.units.values())
    assert [unit["id"] for unit in document["units"]] == [unit.id for unit in back]


def test_the_id_of_a_plan_depends_on_its_units_alone(tiny: Path) -> None:
    plan = make_plan(load_study(tiny))
    upside_down = replace(plan, units=dict(reversed(list(plan.units.items()))))
    less = replace(plan, units=dict(list(plan.units.items())[1:]))
    assert upside_down.id == plan.id != less.id


def test_each_class_in_turn_is_the_classes_of_each_data_set(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, methods=["ispf"], scenarios=["class:*"], datasets=["digits", "cifar100"])
    found = Counter(unit.dataset.name for unit in plan.units.values() if unit.method.name == "ispf" and unit.seed == 0)
    kinds = {unit.kind for unit in plan.units.values() if unit.method.name == "ispf"}
    assert found == {"digits": 10 * len(kinds), "cifar100": 100 * len(kinds)}
    one = tiny_study.plan_of(tmp_path, methods=["ispf"], scenarios=["class:3"])
    assert set(one.units) <= set(plan.units)
