"""Artifacts in a study: planned once for all that share them, seen on the page, audited by setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_study

from harness.planner import Plan
from harness.store import Store
from harness.unit import Kind, Unit
from harness.yamlfile import InvalidFile

GAN: dict[str, Any] = {"gan_steps": 4, "gan_batch_size": 8, "gan_width": 4, "epochs": 1}
STUDY: dict[str, Any] = {
    **tiny_study.PLAIN,
    "name": "gans",
    "methods": [
        {"multi_gan": GAN},
        {"multi_gan": {**GAN, "inversion": "least_likely"}},
        {"multi_gan": {**GAN, "images": "real"}},
        {"multi_gan": {**GAN, "gans": "one"}},
        "finetune",
    ],
    "seeds": 2,
}


def units(plan: Plan, kind: Kind) -> list[Unit]:
    return [unit for unit in plan.units.values() if unit.kind == kind]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    measures = ["accuracy", "run_time", "anamnesis"]
    return tiny_study.plan_of(tmp_path_factory.mktemp("study"), STUDY, measures=measures)


def test_each_gan_is_planned_once_for_all_seeds_and_settings(plan: Plan) -> None:
    made = {unit.values["of"]: unit.id for unit in units(plan, Kind.ARTIFACT)}
    assert made.keys() == {"retain", "forget", "both"}
    assert len(units(plan, Kind.ARTIFACT)) == 3
    shared = {
        unit.config: [need for need in unit.needs if need in made.values()]
        for unit in units(plan, Kind.UNLEARN)
        if unit.method.name == "multi_gan"
    }
    both, two = [made["both"]], [made["retain"], made["forget"]]
    assert sorted(shared.values()) == sorted([both, two, two, []])
    order = list(plan.units)
    assert all(order.index(need) < order.index(unit.id) for unit in plan.units.values() for need in unit.needs)


def test_it_is_judged_by_the_original_of_seed_0_whatever_seeds_the_study_has(plan: Plan, tmp_path: Path) -> None:
    (first,) = (unit for unit in units(plan, Kind.ORIGINAL) if unit.seed == 0)
    other = tiny_study.plan_of(tmp_path, STUDY, seeds=[7])
    for found in (plan, other):
        assert {(unit.seed, *unit.needs) for unit in units(found, Kind.ARTIFACT)} == {(0, first.id)}
        assert first.id in found.units


def test_a_timed_run_borrows_nothing_and_relearning_needs_all_that_its_trial_did(plan: Plan) -> None:
    assert all(len(unit.needs) <= 1 for unit in units(plan, Kind.TIMING))
    trials = {unit.id: unit for unit in units(plan, Kind.UNLEARN)}
    relearned = [unit for unit in units(plan, Kind.RELEARN) if unit.needs[0] in trials]
    assert relearned
    assert all(set(trials[unit.needs[0]].needs) <= set(unit.needs) for unit in relearned)


def test_more_settings_or_seeds_change_no_gan(plan: Plan, tmp_path: Path) -> None:
    more = tiny_study.plan_of(tmp_path, STUDY, methods=[{"multi_gan": {**GAN, "lr": 0.05}}], seeds=3)
    assert {unit.id for unit in units(more, Kind.ARTIFACT)} < {unit.id for unit in units(plan, Kind.ARTIFACT)}


def test_a_farm_may_audit_one_setting_of_a_method(tmp_path: Path) -> None:
    farm = {"shadows": 4, "pools": {"clean": {"size": 40}}}
    in_full = "multi_gan (epochs=1,gan_batch_size=8,gan_steps=4,gan_width=4,images=real)"
    about: dict[str, Any] = {"measures": ["accuracy", "ulira"]}
    for named in (in_full, "multi_gan (images=real)"):  # as the study gives it, and as tables call it
        plan = tiny_study.plan_of(tmp_path, STUDY, farm={**farm, "methods": [named]}, **about)
        audited = {(unit.method.name, unit.values.get("images")) for unit in units(plan, Kind.SHADOW_UNLEARN)}
        assert audited == {("original", None), ("multi_gan", "real")}
    plan = tiny_study.plan_of(tmp_path, STUDY, farm={**farm, "methods": ["multi_gan"]}, **about)
    assert len({unit.config for unit in units(plan, Kind.SHADOW_UNLEARN)} - {"default"}) == 4
    with pytest.raises(InvalidFile, match=r"no method 'multi_gan \(images=real_ones\)' in the study"):
        tiny_study.plan_of(tmp_path, STUDY, farm={**farm, "methods": ["multi_gan (images=real_ones)"]}, **about)


def test_a_study_with_gans_runs_shows_them_and_finds_nothing_to_do_again(tmp_path: Path) -> None:
    study, root = tiny_study.write_study(tmp_path, STUDY), tmp_path / "runs"
    answer = tiny_study.harness("run", study, "--root", root, "--local")
    assert answer.code == 0, answer.err
    page = (root / "reports" / "gans" / "index.html").read_text()
    pictures = re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" alt="([^"]*)">', page)
    assert [re.sub(r"in \S+ s", "in - s", words) for words in pictures] == [
        "64 samples of both: 4 steps in - s, done",
        "64 samples of forget: 4 steps in - s, done",
        "64 samples of retain: 4 steps in - s, done",
    ]
    for part in ("both", "forget", "retain"):
        assert re.search(rf"samples of {part}, in the last epoch: confidence 0\.\d+\.", page)
    store = Store.open(str(root))
    ended = store.scan("units").collect()
    assert len(ended) == len(tiny_study.plan_of(tmp_path, STUDY).units)
    tiny_study.harness("run", study, "--root", root, "--local")
    assert store.scan("units").collect().equals(ended)
