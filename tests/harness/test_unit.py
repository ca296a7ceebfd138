"""Ids: the same everywhere and for ever, and different for every different question."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.recipe import Recipe
from harness.farm import FarmRef, PoolSpec
from harness.origin import Chosen, Search
from harness.unit import DatasetRef, KeepModels, Kind, Named, Unit, keeps_model

ORIGINAL = Unit(
    kind=Kind.ORIGINAL,
    dataset=DatasetRef("digits", 1, "0123456789abcdef"),
    scenario=Named("", 0),
    architecture=Named("cnn_small", 1),
    method=Named("original", 1),
    recipe=Recipe(epochs=20, batch_size=64, lr=0.05),
    seed=0,
)
TRIAL = replace(
    ORIGINAL,
    kind=Kind.UNLEARN,
    dataset=DatasetRef("fashion_mnist", 1, "fedcba9876543210", 10_000),
    scenario=Named("random:0.1", 1),
    method=Named("finetune", 2),
    recipe=Recipe(),
    seed=3,
    config="epochs=4,lr=0.01",
    values={"lr": 0.01, "epochs": 4},
    needs=(ORIGINAL.id,),
)
SHADOW = replace(
    ORIGINAL,
    kind=Kind.SHADOW_UNLEARN,
    method=Named("msg", 1),
    farm=FarmRef((PoolSpec("canary", 120, "random"), PoolSpec("clean", 120)), 1),
    pool="canary",
)
HALF = replace(SHADOW, farm=FarmRef((), design="half_splits", queries=("identity", "flip")), pool="draw3")
SEARCH = Search(100, "nsga3", (0, 1, 2), "mean", 50)
SUGGESTED = replace(TRIAL, kind=Kind.SEARCH, config="suggestion=7", values={}, origin=SEARCH.suggested(7, (0, 1, 2)))
CHOSEN = replace(TRIAL, config="search:nsga3:100x3:mean", values={}, origin=Chosen(SEARCH, "random:0.1"))
UNITS = [ORIGINAL, TRIAL, SHADOW, SUGGESTED, CHOSEN]
GOLDEN = [
    "b36c3cceeba6d6fca221",
    "36760b3d01ac969ee6fc",
    "3d6406220482c42e2434",
    "08d9394b9e61ae06ed20",
    "12be61b146346533efa1",
]
"""Ids that results were stored under: where one changes, everything that was ever run is run again."""

CANONICAL = (
    '{"architecture":{"name":"cnn_small","version":1},"config":"default",'
    '"dataset":{"count":0,"digest":"0123456789abcdef","name":"digits","version":1},"kind":"original",'
    '"method":{"name":"original","version":1},"needs":[],'
    '"recipe":{"batch_size":64,"epochs":20,"lr":0.05,"momentum":0.9,"precision":"fp32","schedule":"cosine",'
    '"weight_decay":0.0005},"results_version":1,"scenario":{"name":"","version":0},"seed":0,"values":{}}'
)

CHANGES: list[dict[str, Any]] = [
    {"kind": Kind.TIMING},
    {"dataset": replace(TRIAL.dataset, name="mnist")},
    {"dataset": replace(TRIAL.dataset, version=2)},
    {"dataset": replace(TRIAL.dataset, digest="0" * 16)},
    {"dataset": replace(TRIAL.dataset, count=0)},
    {"dataset": replace(TRIAL.dataset, tampering="poison:100")},
    {"scenario": Named("random:0.2", 1)},
    {"scenario": Named("random:0.1", 2)},
    {"architecture": Named("resnet18", 1)},
    {"architecture": Named("cnn_small", 2)},
    {"method": Named("ct", 2)},
    {"method": Named("finetune", 1)},
    {"recipe": replace(TRIAL.recipe, epochs=51)},
    {"recipe": replace(TRIAL.recipe, batch_size=128)},
    {"recipe": replace(TRIAL.recipe, lr=0.2)},
    {"recipe": replace(TRIAL.recipe, momentum=0.8)},
    {"recipe": replace(TRIAL.recipe, weight_decay=0.0)},
    {"recipe": replace(TRIAL.recipe, schedule="constant")},
    {"recipe": replace(TRIAL.recipe, precision="bf16")},
    {"recipe": replace(TRIAL.recipe, optimizer="adamw")},
    {"seed": 4},
    {"config": "search:1"},
    {"values": {"lr": 0.01, "epochs": 5}},
    {"values": {"lr": 0.01}},
    {"needs": ()},
    {"needs": (ORIGINAL.id, ORIGINAL.id)},
    {"evidence": (ORIGINAL.id,)},
    {"farm": FarmRef(())},
    {"farm": FarmRef((PoolSpec("canary", 120),))},
    {"farm": FarmRef((PoolSpec("canary", 120, "random"),))},
    {"farm": FarmRef((PoolSpec("canary", 120),), 1)},
    {"farm": FarmRef((PoolSpec("canary", 120),), 1, "conditional")},
    {"farm": FarmRef((PoolSpec("canary", 120),), 1, queries=("identity", "flip"))},
    {"farm": FarmRef((), design="half_splits")},
    {"pool": "canary"},
    {"origin": SEARCH.suggested(7, (0, 1, 2))},
    {"origin": SEARCH.suggested(8, (0, 1, 2))},
    {"origin": SEARCH.suggested(7, (0,))},
    {"origin": replace(SEARCH, population=20).suggested(7, (0,))},
    {"origin": replace(SEARCH, sampler="random", population=0).suggested(7, (0,))},
    {"origin": Chosen(SEARCH, "random:0.1")},
    {"origin": Chosen(SEARCH, "class:3")},
    {"origin": Chosen(replace(SEARCH, trials=50), "random:0.1")},
    {"origin": Chosen(replace(SEARCH, select="reference"), "random:0.1")},
]


@pytest.mark.parametrize(("unit", "golden"), [*zip(UNITS, GOLDEN, strict=True)], ids=lambda v: str(v)[:20])
def test_ids_are_the_golden_ones(unit: Unit, golden: str) -> None:
    assert unit.id == golden


def test_an_id_is_the_hash_of_the_canonical_json() -> None:
    assert ORIGINAL.id == hashlib.sha256(CANONICAL.encode()).hexdigest()[:20]


def test_every_change_gives_another_id() -> None:
    changed = {replace(TRIAL, **change).id for change in CHANGES}
    assert len(changed) == len(CHANGES)
    assert TRIAL.id not in changed
    identifying = {field.name for field in fields(Unit)} - {"drawn", "started_from"}
    assert {name for change in CHANGES for name in change} == identifying


def test_a_changed_copy_is_another_unit_and_leaves_the_first_as_it_was() -> None:
    before = TRIAL.id
    for change in ({}, *CHANGES):
        copy = TRIAL.but(**change)
        assert copy == replace(TRIAL, **change)
        assert copy.id == replace(TRIAL, **change).id
        assert (copy.id == before) == (not change)
    assert TRIAL.id == before


@pytest.mark.parametrize("unit", [SUGGESTED, CHOSEN], ids=lambda unit: unit.kind)
def test_what_a_search_draws_is_no_part_of_the_id(unit: Unit) -> None:
    drawn = replace(unit, values={"epochs": 4}, drawn={"lr": 0.01})
    assert drawn.id == replace(unit, values={"epochs": 4}).id
    assert drawn.hyperparameters == {"epochs": 4, "lr": 0.01}


def test_a_search_that_grows_keeps_its_suggestions() -> None:
    grown = replace(SEARCH, trials=1000)
    assert [grown.suggested(k, (0,)) for k in range(100)] == [SEARCH.suggested(k, (0,)) for k in range(100)]


numbers = st.one_of(st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))


@given(st.dictionaries(st.text(max_size=5), numbers, max_size=5), st.randoms())
def test_the_order_of_values_does_not_matter_and_json_brings_the_unit_back(values: dict[str, Any], rng: Any) -> None:
    unit = replace(TRIAL, values=values)
    items = list(values.items())
    rng.shuffle(items)
    assert replace(TRIAL, values=dict(items)).id == unit.id
    back = Unit.from_json(json.loads(json.dumps(unit.to_json())))
    assert back == unit
    assert back.id == unit.id


@pytest.mark.parametrize("unit", [*UNITS, HALF], ids=str)
def test_a_stored_document_gives_the_same_unit(unit: Unit) -> None:
    back = Unit.from_json(json.loads(json.dumps(unit.to_json(), sort_keys=True)))
    assert back == unit
    assert back.id == unit.id


def test_a_document_from_before_there_were_designs_gives_the_same_unit() -> None:
    document = SHADOW.to_json()
    del document["farm"]["design"], document["farm"]["queries"]
    assert Unit.from_json(document) == SHADOW


def test_the_digest_tells_farms_apart_and_is_the_golden_one() -> None:
    assert SHADOW.farm is not None
    assert SHADOW.farm.digest == "f7370e4d"
    farms = [change["farm"] for change in CHANGES if "farm" in change]
    assert len({farm.digest for farm in farms}) == len(farms)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("none", set()),
        ("original", {Kind.ORIGINAL, Kind.ARTIFACT}),
        ("all", {Kind.ORIGINAL, Kind.ARTIFACT, Kind.RETRAIN, Kind.UNLEARN}),
        ("farm", set(Kind) - {Kind.TIMING, Kind.SEARCH, Kind.RELEARN, Kind.ATTACK, Kind.COMPARE, Kind.PROBE}),
    ],
)
def test_whose_weights_stay(keep: KeepModels, kept: set[Kind]) -> None:
    assert {kind for kind in Kind if keeps_model(replace(TRIAL, kind=kind), keep)} == kept


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_that_others_start_from_a_unit_is_remembered_and_no_part_of_its_id(unit: Unit) -> None:
    started = replace(unit, started_from=True)
    assert started.id == unit.id
    assert started.is_start
    assert Unit.from_json(json.loads(json.dumps(started.to_json()))) == started
    assert unit.is_start == (unit.kind == Kind.ORIGINAL)


def test_the_version_of_relearning_is_part_of_the_ids_of_relearning_alone() -> None:
    relearn = replace(TRIAL, kind=Kind.RELEARN)
    assert {unit.identity().get("relearn_version") for unit in UNITS} == {None}
    assert relearn.identity()["relearn_version"] == 1


def test_the_version_of_the_attackers_is_part_of_the_ids_of_attacks_alone() -> None:
    assert replace(TRIAL, kind=Kind.ATTACK).identity()["attack_version"] == 1
    assert {unit.identity().get("attack_version") for unit in (*UNITS, replace(TRIAL, kind=Kind.RELEARN))} == {None}


def test_the_version_of_the_comparison_is_part_of_the_ids_of_comparisons_alone() -> None:
    assert replace(TRIAL, kind=Kind.COMPARE).identity()["compare_version"] == 1
    assert {unit.identity().get("compare_version") for unit in (*UNITS, replace(TRIAL, kind=Kind.ATTACK))} == {None}


def test_the_version_of_the_probes_is_part_of_the_ids_of_probes_alone() -> None:
    assert replace(TRIAL, kind=Kind.PROBE).identity()["probe_version"] == 1
    assert {unit.identity().get("probe_version") for unit in (*UNITS, replace(TRIAL, kind=Kind.COMPARE))} == {None}


def test_a_document_from_before_there_was_relearning_gives_the_same_unit() -> None:
    document = TRIAL.to_json()
    del document["started_from"]
    assert Unit.from_json(document) == TRIAL


def test_ids_do_not_depend_on_the_process() -> None:
    code = (
        "import json, sys; from harness.unit import Unit;print(*(Unit.from_json(d).id for d in json.load(sys.stdin)))"
    )
    documents = json.dumps([unit.to_json() for unit in UNITS])
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=documents,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert done.stdout.split() == GOLDEN


def test_a_data_set_that_was_tampered_with_says_so() -> None:
    tampered = replace(TRIAL.dataset, tampering="poison:100")
    assert (TRIAL.dataset.label, tampered.label) == ("fashion_mnist@10000", "fashion_mnist@10000+poison:100")
    assert replace(ORIGINAL.dataset, tampering="swap:10:0,1").label == "digits+swap:10:0,1"


def test_the_columns_name_the_unit_for_a_reader() -> None:
    assert TRIAL.columns() == {
        "unit": TRIAL.id,
        "kind": "unlearn",
        "dataset": "fashion_mnist@10000",
        "scenario": "random:0.1",
        "architecture": "cnn_small",
        "method": "finetune",
        "config": "epochs=4,lr=0.01",
        "seed": 3,
    }
    assert str(TRIAL) == "unlearn finetune (epochs=4,lr=0.01) on fashion_mnist@10000 random:0.1 cnn_small, seed 3"
    assert str(ORIGINAL) == "original original on digits cnn_small, seed 0"
