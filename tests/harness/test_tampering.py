"""Manipulated training data: planned apart, trained on, judged, and said of what it is no measure of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study
from hypothesis import given
from hypothesis import strategies as st
from tiny_registry import restored

from harness.contracts import DATASETS
from harness.frames import trials
from harness.metrics import TAMPERED_METRICS, definition
from harness.ranking import headline_metrics
from harness.store import Store
from harness.unit import Kind
from harness.yamlfile import InvalidFile

HALF_KNOWN, KNOWN, SWAP = "poison:120:0.2", "poison:120:1", "swap:160:3,8:1"
POISONED, SWAPPED = "digits+poison:120", "digits+swap:160:3,8"
PLAIN = tiny_study.PLAIN | {"methods": ["finetune"]}
STUDY: dict[str, Any] = PLAIN | {
    "name": "corrective",
    "scenarios": [HALF_KNOWN, KNOWN, SWAP],
    "methods": [{"finetune": {"epochs": 1}}],
    "recipe": {"epochs": 6},
    "measures": ["accuracy", "population_mia"],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The study file and its finished root."""
    folder = tmp_path_factory.mktemp("corrective")
    study, root = tiny_study.write_study(folder, STUDY), folder / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    assert f"The reference is the retrain of {KNOWN}, which has seen none." in answer.out
    return study, root


def measured(root: Path, **columns: Any) -> dict[str, float | None]:
    """Return what was measured of one unit, by `<metric>_<part>`."""
    rows = Store.open(str(root)).scan("metrics").filter(**columns).collect()
    assert rows["unit"].n_unique() == 1
    names = rows.select(pl.when(part="all").then("metric").otherwise(pl.format("{}_{}", "metric", "part")))
    return dict(zip(names.to_series(), rows["value"], strict=True))


def test_an_original_falls_for_the_poison_and_a_retrain_that_knows_all_of_it_does_not(ran: tuple[Path, Path]) -> None:
    of_original = measured(ran[1], kind="original", dataset=POISONED)
    assert (of_original["attack_success"] or 0) > 0.9
    assert (of_original["accuracy_manipulated"] or 0) < 0.1
    assert (of_original["accuracy_test"] or 0) > 0.9, "clean images are answered as if nothing were"
    clean, deceived = (measured(ran[1], kind="retrain", scenario=one) for one in (KNOWN, HALF_KNOWN))
    assert (clean["attack_success"] or 0) < 0.1
    assert (clean["accuracy_manipulated"] or 0) > 0.5
    assert (deceived["attack_success"] or 0) > 0.5, "retrain on the rest is no gold standard where some is hidden"
    assert not {"confusion", "population_mia_val", "mia_confidence_forget"} & {*of_original, *clean, *deceived}


def test_an_original_confuses_two_classes_whose_labels_were_swapped(ran: tuple[Path, Path]) -> None:
    of_original = measured(ran[1], kind="original", dataset=SWAPPED)
    of_retrain = measured(ran[1], kind="retrain", dataset=SWAPPED)
    assert (of_original["confusion"] or 0) > 0.2 > 0.1 > (of_retrain["confusion"] or 0)
    assert (of_original["accuracy_manipulated"] or 1) < 0.7 < (of_retrain["accuracy_manipulated"] or 0)
    assert "attack_success" not in of_original


def test_every_method_is_judged_beside_retrain_and_the_population_attack_has_no_say(ran: tuple[Path, Path]) -> None:
    plan = tiny_study.plan_of(ran[0].parent / "runs", STUDY)
    values = trials(Store.open(str(ran[1])), plan.units)
    known = values.filter(pl.col("metric").is_in(TAMPERED_METRICS), pl.col("flag").is_null())
    assert set(known.filter(dataset=POISONED)["metric"]) == {"accuracy_manipulated", "attack_success"}
    assert set(known.filter(dataset=SWAPPED)["metric"]) == {"accuracy_manipulated", "confusion"}
    assert set(known["method"]) == {"retrain", "original", "finetune"}
    assert set(values.filter(metric="population_mia_val")["flag"]) == {"not measured"}
    assert len(headline_metrics(values)) == 1
    directions = {metric: definition(metric).direction for metric in TAMPERED_METRICS}
    assert directions == {"accuracy_manipulated": "higher", "attack_success": "lower", "confusion": "lower"}


def test_page_and_ranking_say_once_that_retrain_is_no_reference(ran: tuple[Path, Path]) -> None:
    study, root = ran
    said = f"On {HALF_KNOWN} retrain is no gold standard"
    assert (root / "reports" / "corrective" / "index.html").read_text("utf-8").count(said) == 1
    for more in ([], ["--cells"]):
        answer = tiny_study.harness("rank", study, "--root", root, *more)
        assert answer.out.count(said) == 1
        assert "no gold standard" not in answer.out.replace(said, "")
    (caution,) = json.loads(tiny_study.harness("rank", study, "--root", root, "--json").out)["cautions"]
    assert caution.startswith(said)


SCENARIOS = ["random:0.1", "class:3", KNOWN, HALF_KNOWN, "poison:90:1", SWAP]


@given(st.lists(st.sampled_from(SCENARIOS), unique=True, min_size=1))
def test_each_tampered_data_set_has_originals_of_its_own_that_all_shares_have_in_common(
    tmp_path_factory: pytest.TempPathFactory, scenarios: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    plan = tiny_study.plan_of(folder, PLAIN, scenarios=scenarios, seeds=2)
    labels = {one: "digits" if one[0] in "rc" else f"digits+{one.rpartition(':')[0]}" for one in scenarios}
    originals = [unit for unit in plan.units.values() if unit.kind == Kind.ORIGINAL]
    assert len(originals) == 2 * len(set(labels.values()))
    assert plan.classes() == dict.fromkeys(labels.values(), 10)
    for unit in plan.units.values():
        if unit.scenario.name:
            assert unit.dataset.label == labels[unit.scenario.name]
        assert {plan.units[need].dataset for need in unit.needs} <= {unit.dataset}
    clean = [one for one in scenarios if labels[one] == "digits"]
    if clean:
        alone = tiny_study.plan_of(folder, PLAIN, scenarios=clean, seeds=2).units
        own = {key for key, unit in plan.units.items() if not unit.dataset.tampering}
        assert own == alone.keys(), "what is not tampered with has the ids that it always had"


def test_the_document_of_a_data_set_names_its_tampering_only_where_there_is_one(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, PLAIN, scenarios=["random:0.1", KNOWN])
    for unit in plan.units.values():
        assert ("tampering" in unit.to_json()["dataset"]) == bool(unit.dataset.tampering)
        assert type(unit).from_json(json.loads(json.dumps(unit.to_json()))) == unit
        if unit.dataset.tampering:
            assert replace(unit, dataset=replace(unit.dataset, tampering="")).id != unit.id


def test_attacks_on_membership_are_made_where_the_data_is_clean(tmp_path: Path) -> None:
    measures = ["accuracy", "ulira", "mia_trio"]
    study = tiny_study.TINY | {"scenarios": ["random:0.1", KNOWN], "measures": measures}
    plan = tiny_study.plan_of(tmp_path, study)
    attacking = [unit for unit in plan.units.values() if unit.kind.of_farm or unit.kind == Kind.ATTACK]
    assert {unit.dataset.label for unit in attacking} == {"digits"}
    assert {unit.kind for unit in attacking} > {Kind.ATTACK, Kind.SHADOW}


def test_the_plan_counts_what_it_trains_apart(tmp_path: Path) -> None:
    answer = tiny_study.harness("plan", tiny_study.write_study(tmp_path, STUDY), "--root", tmp_path / "runs")
    assert [line.split() for line in answer.out.splitlines() if line.startswith(("original", "retrain"))] == [
        ["original", "2", "0", "2"],
        ["retrain", "3", "0", "3"],
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scenarios": ["random:0.1", "poison:5000:1"]}, ":9: scenarios.1: 'poison:5000:1': it takes more than 5000"),
        ({"scenarios": ["swap:10:0,10:1"]}, "'swap:10:0,10:1': each class must lie between 0 and 9 on digits"),
        (
            {"scenarios": ["subclass:3"]},
            "'subclass:3': it takes subclasses, as cifar20 has them; there are none on digits",
        ),
        ({"scenarios": ["nested:9"]}, "'nested:9': of 10 classes at most 8 can be forgotten"),
        ({"scenarios": [KNOWN], "measures": ["accuracy", "mia_trio"]}, "; leave out 'mia_trio'"),
        ({"scenarios": [KNOWN], "measures": None}, ": measures: attacks on membership say nothing where all scenarios"),
        ({"scenarios": [KNOWN], "search": {"trials": 2, "seeds": 1}}, "search.trials: a search is led by an attack on"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        tiny_study.plan_of(tmp_path, PLAIN, **changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_of_nested_classes_names_them(tmp_path: Path) -> None:
    plan = tiny_study.plan_of(tmp_path, PLAIN, scenarios=["nested:1", "nested:3"])
    assert {unit.scenario.name for unit in plan.units.values()} == {"", "class:7", "classes:0,4,7"}


def test_too_small_an_image_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with restored():
        DATASETS._specs["digits"] = replace(DATASETS["digits"], shape=(1, 2, 8))  # type: ignore[attr-defined]
        with pytest.raises(InvalidFile, match="no room for its trigger of 3 x 3 pixels in images of 2"):
            tiny_study.plan_of(tmp_path, PLAIN, scenarios=[KNOWN])
