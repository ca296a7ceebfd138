"""Who passes the usual attack and fails the audit: cases made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.metrics import leaks
from harness.planner import Plan, make_plan
from harness.store import Store
from harness.store.schemas import polars_schema
from harness.study import load_study
from harness.unit import Kind
from harness.verdict import chosen_on_test, did_nothing, diverges_in_the_audit, passes_but_fails, sees_validation

FORGET, VAL = 122, 216
MARGIN = 1.96 * (1 / (8 * FORGET)) ** 0.5  # 0.0627: two binomial standard errors of 2 x 122 guesses


def attack(method: str, p_value: float | None, value: float | None = 0.7, **other: object) -> dict[str, object]:
    """Return a row of the attacks table, by default the headline on the canaries."""
    return {
        "study": "verdict",
        "dataset": "digits",
        "scenario": "audit:canary",
        "architecture": "cnn_small",
        "method": method,
        "config": "default",
        "pool": "canary",
        "null": "O",
        "level": "L2",
        "metric": "auc",
        "value": value,
        "p_value": p_value,
    } | other


def table(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=polars_schema("attacks"))


def failing(*rows: Mapping[str, object]) -> set[str]:
    return set(leaks(table(rows)).filter("leaks")["method"])


def test_a_method_fails_where_its_auc_is_significantly_above_a_half() -> None:
    assert failing(attack("finetune", 0.049)) == {"finetune"}
    assert failing(attack("finetune", 0.051)) == set()
    assert failing(attack("finetune", 0.001, value=0.4)) == set()
    assert failing(attack("finetune", None, value=None)) == set()
    assert failing() == set()


def test_p_values_are_adjusted_for_all_that_were_looked_at() -> None:
    """Holm 1979: the smallest of three must be below 0.05 / 3, the next below 0.05 / 2."""
    assert failing(attack("a", 0.016), attack("b", 0.024), attack("c", 0.049)) == {"a", "b", "c"}
    assert failing(attack("a", 0.016), attack("b", 0.026), attack("c", 0.03)) == {"a"}
    assert failing(attack("a", 0.02), attack("b", 0.02), attack("c", 0.02)) == set()
    clean: dict[str, Any] = {"pool": "clean", "scenario": "audit:clean"}
    assert failing(attack("a", 0.026), attack("a", 0.9, **clean)) == set()
    assert failing(attack("a", 0.026), attack("b", None, value=None)) == {"a"}


@pytest.mark.parametrize("other", [{"null": "R"}, {"level": "L1"}, {"level": "L0"}, {"metric": "tpr@0.01"}])
def test_only_the_headline_counts_and_only_it_is_corrected_for(other: dict[str, Any]) -> None:
    assert failing(attack("a", 1e-9, **other)) == set()
    assert failing(attack("a", 0.04), attack("b", 0.5, **other)) == {"a"}


def plan_of(folder: Path, methods: str = "[finetune, ct, msg, {finetune: {lr: 0.5}}]") -> Plan:
    path = folder / "study.yaml"
    path.write_text(
        "name: verdict\ndatasets: [digits]\narchitectures: [cnn_small]\nscenarios: ['random:0.1', 'class:3']\n"
        f"methods: {methods}\nseeds: 2\nfarm: {{shadows: 4}}\n"
    )
    return make_plan(load_study(path))


Value = float | None
Given = Mapping[tuple[str, str, str], Value | Sequence[Value]]
"""Population MIA by (method, config, scenario), one for all seeds or one for each; 0.9 where it is not given."""


def verdict(folder: Path, given: Given, attacks: Sequence[Mapping[str, object]]) -> list[str]:
    """Commit the trials of a plan and its attacks, and return who passes but fails."""
    plan = plan_of(folder)
    store = Store.open(str(folder / "runs"), write=True)
    for unit in plan.units.values():
        if unit.kind not in (Kind.RETRAIN, Kind.UNLEARN):
            continue
        value = given.get((unit.method.name, unit.config, unit.scenario.name), 0.9)
        seeds = [value] * 2 if value is None or isinstance(value, float) else list(value)
        same = unit.columns() | {"attempt": 1}
        pools = {"forget": FORGET, "val": VAL, "test": 359}
        signals = [
            same | {"pool": pool, "query": "identity", "phi": [0.0] * n, "member": [pool == "forget"] * n, "n": n}
            for pool, n in pools.items()
        ]
        metric = same | {"part": "val", "metric": "population_mia", "value": seeds[unit.seed]}
        done = same | {"status": "done", "started": datetime.now(UTC)}
        store.commit(unit.id, {"units": [done], "metrics": [metric], "signals": signals})
    store.replace("attacks", table(attacks), {"study": "verdict"})
    return passes_but_fails(plan, store)


R, C = "random:0.1", "class:3"


def test_whoever_passes_the_one_and_fails_the_other_is_named(tmp_path: Path) -> None:
    given: Given = {("finetune", "default", R): 0.52, ("ct", "default", R): 0.52, ("msg", "default", R): 0.6}
    attacks = [attack("finetune", 1e-4), attack("ct", 0.8), attack("msg", 1e-6)]
    assert verdict(tmp_path, given, attacks) == ["finetune (default)"]


def test_references_are_never_named(tmp_path: Path) -> None:
    given: Given = {(name, "default", R): 0.5 for name in ("original", "retrain", "ct", "msg")}
    attacks = [attack(name, 1e-4) for name in ("original", "retrain", "ct", "msg")]
    assert verdict(tmp_path, given, attacks) == ["ct", "msg"]


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ((0.5 + 0.99 * MARGIN,) * 2, True),
        ((0.5 - 0.99 * MARGIN,) * 2, True),
        ((0.5 + 1.01 * MARGIN,) * 2, False),
        ((0.5 - 1.01 * MARGIN,) * 2, False),
        ((0.45, 0.55), True),
        ((0.5 + 2.5 * MARGIN, 0.5), False),
        ((None, None), False),
    ],
)
def test_passing_is_a_mean_over_seeds_that_guessing_could_have_given(
    tmp_path: Path, values: tuple[Value, ...], passes: bool
) -> None:
    named = verdict(tmp_path, {("ct", "default", R): values}, [attack("ct", 1e-4)])
    assert named == (["ct"] if passes else [])


def test_passing_in_one_scenario_is_enough_and_the_configuration_must_be_the_same(tmp_path: Path) -> None:
    other: dict[str, Any] = {"config": "lr=0.5"}
    given: Given = {("ct", "default", C): 0.5, ("finetune", "default", R): 0.5}
    attacks = [attack("ct", 1e-4), attack("finetune", 1e-4, **other), attack("finetune", 0.9)]
    assert verdict(tmp_path, given, attacks) == ["ct"]


def test_the_attacks_of_other_studies_say_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    store = Store.open(str(tmp_path / "runs"), write=True)
    store.replace("attacks", table([attack("ct", 1e-9, study="another")]), {"study": "another"})
    assert passes_but_fails(plan, store) == []


def test_methods_that_did_nothing_are_named(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    store = Store.open(str(tmp_path / "runs"), write=True)
    for unit in plan.units.values():
        if unit.kind == Kind.UNLEARN and unit.scenario.name == R:
            share = 0.0 if unit.method.name in ("ct", "original") and unit.seed == 1 else 0.5
            same = unit.columns() | {"attempt": 1}
            metric = same | {"part": "all", "metric": "changed_weights", "value": share}
            store.commit(
                unit.id, {"units": [same | {"status": "done", "started": datetime.now(UTC)}], "metrics": [metric]}
            )
    assert did_nothing(plan, store) == ["ct"]


def test_methods_that_declare_the_validation_part_are_named(tmp_path: Path) -> None:
    assert sees_validation(plan_of(tmp_path, "[finetune, scrub, kde]").study) == ["kde", "scrub"]


def test_methods_whose_model_is_chosen_on_test_are_named(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "[finetune, dfkd, {dfkd: {select: best_test}}]")
    assert chosen_on_test(plan.study) == ["dfkd"]
    assert chosen_on_test(plan_of(tmp_path, "[finetune, dfkd]").study) == []


def test_methods_that_diverge_on_the_shadows_are_named(tmp_path: Path) -> None:
    broken = {"value": None, "flags": "insufficient nonfinite:3200"}
    rows = [
        attack("ct", 0.5),
        attack("finetune", None, **broken),
        attack("msg", None, **broken | {"flags": "insufficient"}),  # not yet enough shadows
        attack("msg", None, **broken | {"level": "L1"}),
    ]
    assert verdict(tmp_path, {}, rows) == []
    store = Store.open(str(tmp_path / "runs"))
    assert diverges_in_the_audit(plan_of(tmp_path), store) == ["finetune"]
