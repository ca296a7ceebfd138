"""The audit of every design of farm, and the attacks beside U-LiRA, on signals whose leakage is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from tiny_farm import EFFECTS, Signals, commit, farm_of, plan_of, synthetic

from harness.attacks import audit, eps_gdp
from harness.audit import FURTHER, FarmAudit, attack_rows, audit_farm, differences
from harness.audit.differences import NotAudited
from harness.farm import POPULATION, FurtherAttack, is_tuning
from harness.metrics import AUDIT_METRICS, DEFINITIONS
from harness.planner import Plan
from harness.store import Store
from harness.unit import Kind

POOLS = "pools: {p: {size: 40}}"


def committed(folder: Path, plan: Plan, signals: Signals) -> Store:
    store = Store.open(str(folder), write=True)
    commit(store, plan, signals, [unit.id for unit in plan.units.values() if unit.kind.of_farm])
    return store


def audited(folder: Path, plan: Plan, signals: Signals) -> FarmAudit:
    return audit_farm(plan.units, farm_of(plan), "farm", committed(folder, plan, signals))


def values(table: pl.DataFrame, metric: str, **where: str) -> dict[str, Any]:
    """Return the row of each method."""
    rows = table.filter(pl.col("metric") == metric, **where).rows(named=True)
    assert len({row["method"] for row in rows}) == len(rows)
    return {row["method"]: row for row in rows}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> FarmAudit:
    """All attacks on 32 shadows."""
    folder = tmp_path_factory.mktemp("everything")
    plan = plan_of(folder, farm=f"{{shadows: 32, {POOLS}, levels: [L2, L3], attacks: all}}")
    signals, rng = synthetic(plan), np.random.default_rng(1)
    for unit in plan.units.values():
        if unit.kind in (Kind.SHADOW_UNLEARN, Kind.SHADOW_RETRAIN):
            signals[unit.id, POPULATION] = rng.normal(size=30), np.zeros(30, dtype=bool)
    return audited(folder / "runs", plan, signals)


def test_a_study_can_name_every_attack() -> None:
    assert set(FURTHER) == set(get_args(FurtherAttack))


def test_every_metric_of_the_audit_is_defined_and_occurs(everything: FarmAudit) -> None:
    assert set(everything.attacks["metric"]) == set(AUDIT_METRICS) <= set(DEFINITIONS)


def test_every_attack_sees_the_leak_and_nothing_where_nothing_is(everything: FarmAudit) -> None:
    for metric in ("auc", "offline_1s_auc", "offline_2s_auc", "rmia_auc"):
        found = values(everything.attacks, metric, null="O", level="L2")
        assert found["original"]["value"] > found["finetune"]["value"] > found["ct"]["value"] + 0.1
        for nothing in ("ct", "retrain"):
            assert abs(found[nothing]["value"] - 0.5) < 0.05
    for metric in ("eps_cp", "eps_onerun", "eps_gdp"):
        found = values(everything.attacks, metric)
        assert found["original"]["low"] > 0.5 > found["ct"]["low"] + 0.3


def test_no_interval_is_that_of_fixed_scores(everything: FarmAudit) -> None:
    assert not everything.attacks["flags"].str.contains("fixed_scores").any()


def test_the_restated_epsilon_has_the_interval_of_the_refitted_attack(everything: FarmAudit) -> None:
    headline, restated = (values(everything.attacks, m, null="O", level="L2")["finetune"] for m in ("auc", "eps_gdp"))
    for end in ("value", "low", "high"):
        assert restated[end] == eps_gdp(headline[end], delta=1e-5)


def test_distances_to_retrain_stand_above_their_floor_by_what_was_left(everything: FarmAudit) -> None:
    for metric in ("klom", "klom_gaussian"):
        found = values(everything.attacks, metric, null="R")
        excess = {method: row["value"] - row["null_floor"] for method, row in found.items()}
        assert excess["original"] > excess["finetune"] > 0.2
        for nothing in ("ct", "retrain"):
            assert found[nothing]["low"] <= found[nothing]["null_floor"] <= found[nothing]["high"]
    quality = values(everything.attacks, "forgetting_quality", null="R")
    assert quality["original"]["high"] < quality["original"]["null_floor"]
    assert quality["original"]["value"] < quality["finetune"]["value"] < quality["ct"]["value"]
    assert {method: row["flags"] for method, row in quality.items() if method != "retrain"} == dict.fromkeys(
        EFFECTS, "marginal"
    )
    assert quality["retrain"]["flags"] == "insufficient marginal"  # halves of 16 retrains are halved again


def test_who_sees_both_models_sees_more(everything: FarmAudit) -> None:
    """phi before forgetting is that of the shadow, which leaks by 4 whatever the method left."""
    both, after = (values(everything.attacks, "auc", null="O", level=level) for level in ("L3", "L2"))
    assert "retrain" not in both
    assert both["ct"]["value"] > 0.97 > 0.55 > after["ct"]["value"]
    assert both["original"]["value"] == pytest.approx(after["original"]["value"], abs=0.005)


def test_p_values_are_adjusted_for_all_methods(everything: FarmAudit) -> None:
    rows = everything.attacks.filter(metric="auc", null="O", level="L2")
    smallest = rows.sort("p_value").row(0, named=True)
    assert smallest["p_adjusted"] == pytest.approx(len(rows) * smallest["p_value"])


def test_the_frames_of_the_report_speak_of_every_method(everything: FarmAudit) -> None:
    effects = everything.effects.group_by("method").agg(pl.col("d").median(), pl.col("flagged").mean(), pl.len())
    found = {row["method"]: row for row in effects.iter_rows(named=True)}
    assert found["original"]["d"] == pytest.approx(EFFECTS["original"], abs=0.4)
    assert found["finetune"]["d"] == pytest.approx(EFFECTS["finetune"], abs=0.3)
    assert found["original"]["flagged"] == 1 > 0.1 > found["retrain"]["flagged"]
    assert {row["len"] for row in found.values()} == {40}
    worlds = everything.worlds.filter(method="finetune").group_by("world").agg(pl.len() / 3)
    assert dict(worlds.rows()) == {"U": 16, "O": 16, "R": 16}
    growth = everything.growth.filter(method="finetune").sort("n")
    assert growth["n"].to_list() == [8, 16, 32]
    whole = values(everything.attacks, "auc", null="O", level="L2")["finetune"]["value"]
    assert growth["value"][-1] == whole == pytest.approx(growth["expected"][-1])
    assert growth["expected"].is_sorted()
    assert growth["detectable"].is_sorted(descending=True)


def test_differences_are_sharper_than_two_intervals(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, farm=f"{{shadows: 32, {POOLS}}}")
    store = committed(tmp_path / "runs", plan, synthetic(plan, EFFECTS | {"finetune": 0.5}))
    frame = differences(plan.units, store, "ct")
    assert set(frame["method"]) == {"original", "finetune", "retrain"}
    table = attack_rows(plan.units, farm_of(plan), "farm", store)
    found = values(table, "auc", null="O", level="L2")
    (row,) = frame.filter(method="finetune", null="O").rows(named=True)
    assert row["difference"] == pytest.approx(found["finetune"]["value"] - found["ct"]["value"])
    assert row["low"] > 0
    assert row["p_value"] <= row["p_adjusted"] < 0.05
    (nothing,) = frame.filter(method="retrain", null="O").rows(named=True)
    assert nothing["low"] < 0 < nothing["high"]
    with pytest.raises(NotAudited, match="did you mean 'finetune'"):
        differences(plan.units, store, "finetun")


def test_tuning_shadows_are_never_audited(tmp_path: Path) -> None:
    """Their signals give everything away; the tables are those of the farm without them."""
    plan, with_tuning = (plan_of(tmp_path, farm=f"{{shadows: 8, {POOLS}{more}}}") for more in ("", ", tuning: 4"))
    signals = synthetic(plan)
    loud = synthetic(with_tuning, dict.fromkeys(EFFECTS, 100.0))
    assert len(loud) > len(signals)
    loud |= signals
    tuned = [unit for unit in with_tuning.units.values() if unit.kind.of_farm and is_tuning(np.array(unit.seed))]
    assert len(tuned) == 4 * (1 + 3)
    assert audited(tmp_path / "a", plan, signals).attacks.equals(audited(tmp_path / "b", with_tuning, loud).attacks)


def test_queries_count_by_their_mean(tmp_path: Path) -> None:
    one, two = (
        plan_of(tmp_path, farm=f"{{shadows: 8, {POOLS}{more}}}") for more in ("", ", queries: [identity, flip]")
    )
    mean, first = synthetic(one), synthetic(one, seed=7)
    store = Store.open(str(tmp_path / "two"), write=True)
    by_place = {(u.kind, u.method.name, u.pool, u.seed): u for u in one.units.values() if u.kind.of_farm}
    for unit in two.units.values():
        if unit.kind.of_farm:
            same = by_place[unit.kind, unit.method.name, unit.pool, unit.seed]
            phi, inside = mean[same.id, "p"]
            other = first[same.id, "p"][0]
            rows: list[dict[str, object]] = [
                unit.columns()
                | {"attempt": 1, "pool": "p", "query": query, "phi": answer, "member": inside, "n": len(phi)}
                for query, answer in (("identity", other), ("flip", 2 * phi - other))
            ]
            done = unit.columns() | {"attempt": 1, "status": "done"}
            store.commit(unit.id, {"units": [done], "signals": rows})
    table = attack_rows(two.units, farm_of(two), "farm", store)
    wanted = audited(tmp_path / "one", one, mean).attacks
    assert table["value"].to_list() == pytest.approx(wanted["value"].to_list(), abs=1e-6)


def test_a_conditional_farm_knows_retrains_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, farm=f"{{design: conditional, shadows: 24, {POOLS}, attacks: [klom]}}")
    table = audited(tmp_path / "runs", plan, synthetic(plan)).attacks
    assert set(table["null"]) == {"R"}
    found = values(table, "auc")
    assert found["original"]["value"] > 0.98 > found["finetune"]["value"] > 0.7
    for nothing in ("ct", "retrain"):
        assert found[nothing]["low"] < 0.5 < found[nothing]["high"]
    assert (found["finetune"]["k_u"], found["finetune"]["k_o"]) == (24, 24)
    assert set(values(table, "klom")["finetune"]["flags"].split()) == {"conditional"}


def test_all_draws_of_half_splits_are_audited_together_and_split_by_split(tmp_path: Path) -> None:
    """Against a direct call with the rows stacked by hand; what was retained is in neither world."""
    plan = plan_of(tmp_path, methods=["finetune"], farm="{design: half_splits, shadows: 12, draws: 3}")
    rng, signals, stacked = np.random.default_rng(0), {}, []
    difficulty = rng.normal(0, 2, 50)
    halves = rng.random((12, 50)) < 0.5
    for unit in (u for u in plan.units.values() if u.kind.of_farm):
        half = halves[unit.seed]
        if unit.kind == Kind.SHADOW:
            signals[unit.id, ""] = difficulty + rng.normal(size=50) + 4 * half, half
            continue
        forgotten = half & (rng.random(50) < 0.5)
        effect = 2.0 * (unit.method.name == "finetune")
        phi = (difficulty + rng.normal(size=50) + effect * forgotten).astype(np.float32)
        member = [True if f else None if h else False for f, h in zip(forgotten, half, strict=True)]
        signals[unit.id, unit.pool] = phi, member
        if unit.method.name == "finetune":
            stacked.append((unit.seed, phi, forgotten, ~half))
    table = audited(tmp_path / "runs", plan, signals).attacks
    split, phi, u, o = (np.array(column) for column in zip(*stacked, strict=True))
    direct = {result.metric: result for result in audit(phi.astype(np.float64), u, o, split)}
    found = values(table, "auc", null="O", level="L2")
    assert found["finetune"]["value"] == direct["auc"].value
    assert found["finetune"]["low"] == direct["auc"].low
    assert found["finetune"]["pool"] == "draws"
    assert found["finetune"]["n"] == 36
    against_retrain = values(table, "auc", null="R")
    assert against_retrain["finetune"]["low"] > 0.6
    for nothing in (found["retrain"], against_retrain["retrain"]):
        assert nothing["low"] < 0.5 < nothing["high"]
