"""From stored signals to the attacks table: on farms whose leakage is known, and on one real farm."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from tiny_farm import METHODS, Signals, commit, farm_of, plan_of, synthetic

from harness import drive
from harness.attacks import Result, audit, stack_retrains
from harness.audit import attack_rows, audit_farm
from harness.farm import Farm, membership
from harness.planner import Plan
from harness.store import SCHEMAS, Store
from harness.unit import Kind
from harness.views import Written


@dataclass(frozen=True)
class Stacked:
    """Rows of one method on one pool, stacked by hand."""

    shadows: list[int]
    phi: NDArray[np.float64]
    inside: NDArray[np.bool_]

    @property
    def pair(self) -> NDArray[np.int64]:
        return np.array([shadow // 2 for shadow in self.shadows])

    def only(self, shadows: Collection[int]) -> Stacked:
        keep = [i for i, shadow in enumerate(self.shadows) if shadow in shadows]
        return Stacked([self.shadows[i] for i in keep], self.phi[keep], self.inside[keep])


def stacked(plan: Plan, signals: Signals, kind: Kind, method: str, pool: str, present: Collection[str]) -> Stacked:
    """Stack the signals of the units that are present with their partner, by number of the shadow."""
    wanted = sorted(
        (unit.seed, unit.id)
        for unit in plan.units.values()
        if unit.kind == kind and unit.method.name == method and unit.pool in ("", pool) and unit.id in present
    )
    seeds = {seed for seed, _ in wanted}
    wanted = [(seed, identity) for seed, identity in wanted if seed ^ 1 in seeds]
    rows = [signals[identity, pool] for _, identity in wanted]
    width = next(p.size for p in farm_of(plan).ref.pools if p.name == pool)
    phi, inside = (np.array([row[i] for row in rows]).reshape(len(rows), width) for i in (0, 1))
    return Stacked([seed for seed, _ in wanted], phi, inside.astype(bool))


Key = tuple[str, str, str, str]


def expected(plan: Plan, signals: Signals, present: Collection[str]) -> Iterator[tuple[Key, list[Result]]]:
    """Yield the results by (method, pool, null, level), from direct calls of the attack."""
    for pool in (p.name for p in farm_of(plan).ref.pools):
        originals = stacked(plan, signals, Kind.SHADOW, "original", pool, present)
        retrains = stacked(plan, signals, Kind.SHADOW_RETRAIN, "retrain", pool, present)
        for method in METHODS:
            rows = stacked(plan, signals, Kind.SHADOW_UNLEARN, method, pool, present)
            if not rows.shadows:
                continue
            yield from never_in(method, pool, rows)
            if originals.shadows:
                both = set(rows.shadows) & set(originals.shadows)
                some, fit = rows.only(both), originals.only(both).phi
                yield (
                    (method, pool, "O", "L1"),
                    audit(some.phi, some.inside, ~some.inside, some.pair, level="L1", fit_phi=fit),
                )
            if retrains.shadows:
                worlds = stack_retrains(rows.phi, rows.inside, rows.pair, retrains.phi, retrains.pair)
                yield (method, pool, "R", "L2"), audit(*worlds)
        if retrains.shadows:
            yield from never_in("retrain", pool, retrains)
            even, odd = (retrains.only([s for s in retrains.shadows if s % 2 == side]) for side in (0, 1))
            worlds = stack_retrains(even.phi, np.ones_like(even.inside), even.pair, odd.phi, odd.pair)
            yield ("retrain", pool, "R", "L2"), audit(*worlds)


def never_in(method: str, pool: str, rows: Stacked) -> Iterator[tuple[Key, list[Result]]]:
    for level in ("L0", "L2"):
        yield (method, pool, "O", level), audit(rows.phi, rows.inside, ~rows.inside, rows.pair, level=level)


COMPARED = ("value", "se", "low", "high", "p_value", "null_floor", "realised_fpr", "false_positives", "version")
COUNTED = ("n", "k_u", "k_o", "examples")


def assert_as_expected(table: pl.DataFrame, plan: Plan, signals: Signals, present: Collection[str]) -> None:
    """Assert that a table holds the results of direct calls and, epsilons apart, nothing else."""
    table = table.filter(~pl.col("metric").str.starts_with("eps_"))
    found = {
        tuple(row[c] for c in ("method", "pool", "null", "level", "metric")): row for row in table.rows(named=True)
    }
    assert len(found) == len(table)
    wanted = {(*key, r.metric): r for key, results in expected(plan, signals, present) for r in results}
    assert found.keys() == wanted.keys()
    for key, result in wanted.items():
        row = found[key]
        assert {c: row[c] for c in (*COMPARED, *COUNTED)} == {c: getattr(result, c) for c in (*COMPARED, *COUNTED)}
        assert [flag for flag in row["flags"].split() if not flag.startswith("coverage")] == list(result.flags)
        assert row["scenario"] == f"audit:{row['pool']}"


def attacked(folder: Path, plan: Plan, signals: Signals, order: Sequence[str], fold_every: int = 0) -> pl.DataFrame:
    """Commit units in an order, fold some, and return the attacks table."""
    store = Store.open(str(folder), write=True)
    for start in range(0, len(order), fold_every or len(order) or 1):
        commit(store, plan, signals, order[start : start + (fold_every or len(order))])
        if fold_every:
            store.fold()
    return attack_rows(plan.units, farm_of(plan), "farm", store)


def value_of(
    table: pl.DataFrame, method: str, null: str = "O", level: str = "L2", pool: str = "canary"
) -> dict[str, Any]:
    """Return the row of an AUC."""
    (row,) = table.filter(method=method, null=null, level=level, pool=pool, metric="auc").rows(named=True)
    return row


def of_farm(plan: Plan) -> list[str]:
    return [unit.id for unit in plan.units.values() if unit.kind.of_farm]


def test_the_table_holds_what_direct_calls_give(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    signals = synthetic(plan)
    table = attacked(tmp_path / "runs", plan, signals, of_farm(plan))
    assert_as_expected(table, plan, signals, of_farm(plan))
    assert set(table["method"]) == {*METHODS, "retrain"}
    store = Store.open(str(tmp_path / "runs"), write=True)
    store.replace("attacks", table, {"study": "farm"})
    assert store.scan("attacks").collect().sort(pl.all()).equals(table.sort(pl.all()))


def test_neither_the_order_of_units_nor_the_layout_of_the_tables_matters(tmp_path: Path) -> None:
    """Were rows matched by their place and not by the shadow's number, L1 would fit on other shadows."""
    plan = plan_of(tmp_path)
    signals, rng = synthetic(plan), np.random.default_rng(1)
    tables = [
        attacked(tmp_path / f"runs{i}", plan, signals, list(rng.permutation(of_farm(plan))), fold_every)
        for i, fold_every in enumerate((0, 23, 7))
    ]
    for table in tables:
        assert_as_expected(table, plan, signals, of_farm(plan))


def test_known_separations_come_out_in_order(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, shadows=32, retrains=16)
    table = attacked(tmp_path / "runs", plan, synthetic(plan), of_farm(plan))
    for pool in ("canary", "clean"):
        original, finetune, ct, retrain = (value_of(table, m, pool=pool) for m in (*METHODS, "retrain"))
        assert original["value"] > 0.98 > finetune["value"] > 0.8 > ct["value"]
        assert original["low"] > finetune["high"]
        for nothing in (ct, retrain, value_of(table, "ct", "R", pool=pool), value_of(table, "retrain", "R", pool=pool)):
            assert nothing["low"] < 0.5 < nothing["high"]
        assert value_of(table, "original", level="L1", pool=pool)["value"] == original["value"]


def test_retrain_against_itself_is_a_half_on_average_in_both_nulls(tmp_path: Path) -> None:
    """Each pool is a repetition: an attack whose two sides are fitted on different counts shows a bias."""
    pools = {f"p{i}": 24 for i in range(25)}
    plan = plan_of(tmp_path, pools=pools, methods=["original"])
    table = attacked(tmp_path / "runs", plan, synthetic(plan), of_farm(plan))
    for null in ("O", "R"):
        values = table.filter(method="retrain", null=null, level="L2", metric="auc")["value"].to_numpy()
        assert len(values) == len(pools)
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - 0.5) < 4 * error < 0.06


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_a_half_finished_farm_is_attacked_with_what_is_there(tmp_path: Path, share: float, seed: int) -> None:
    plan = plan_of(tmp_path, shadows=8, retrains=4)
    signals, rng = synthetic(plan), np.random.default_rng(seed)
    present = [identity for identity in of_farm(plan) if rng.random() < share]
    table = attacked(tmp_path / "runs", plan, signals, present)
    assert_as_expected(table, plan, signals, present)


@pytest.mark.parametrize("missing", [Kind.SHADOW, Kind.SHADOW_RETRAIN, Kind.SHADOW_UNLEARN])
def test_a_farm_without_one_kind_is_attacked_with_the_others(tmp_path: Path, missing: Kind) -> None:
    plan = plan_of(tmp_path, shadows=8, retrains=4)
    signals = synthetic(plan)
    present = [identity for identity in of_farm(plan) if plan.units[identity].kind != missing]
    table = attacked(tmp_path / "runs", plan, signals, present)
    assert_as_expected(table, plan, signals, present)
    lacks = {Kind.SHADOW: pl.col("level") == "L1", Kind.SHADOW_RETRAIN: pl.col("null") == "R"}
    assert table.filter(lacks.get(missing, pl.col("method") != "retrain")).is_empty()


def test_observations_are_counted_as_they_are(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    signals = synthetic(plan)
    lost = {
        unit.id
        for unit in plan.units.values()
        if (unit.kind == Kind.SHADOW_UNLEARN and unit.method.name == "ct" and unit.seed in (3, 4, 5))
        or (unit.kind == Kind.SHADOW_RETRAIN and unit.seed == 0)
    }
    table = attacked(tmp_path / "runs", plan, signals, [i for i in of_farm(plan) if i not in lost])
    inside = np.array([membership(farm_of(plan).ref, s, 40) for s in range(16) if s not in (2, 3, 4, 5)])
    counts = {column: value_of(table, "ct")[column] for column in COUNTED}
    assert counts == {
        "n": 12,
        "k_u": inside.sum(axis=0).min(),
        "k_o": (~inside).sum(axis=0).min(),
        "examples": 40,
    }
    against_retrain = value_of(table, "ct", "R")
    assert (against_retrain["n"], against_retrain["k_o"]) == (12 + 6, 6)
    assert value_of(table, "finetune")["k_u"] == value_of(table, "finetune")["k_o"] == 8
    assert value_of(table, "ct")["flags"] == "coverage:12/16"
    assert value_of(table, "retrain")["flags"] == "no_interval coverage:6/8"
    assert value_of(table, "finetune")["flags"] == ""


def test_diverged_releases_count_as_releases_that_tell_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    signals = synthetic(plan)
    for unit in plan.units.values():
        if unit.kind == Kind.SHADOW_UNLEARN and unit.method.name == "finetune" and unit.seed in (2, 9):
            phi, inside = signals[unit.id, unit.pool]
            signals[unit.id, unit.pool] = np.full_like(phi, np.nan if unit.seed == 2 else np.inf), inside
    table = attacked(tmp_path / "runs", plan, signals, of_farm(plan))
    assert_as_expected(table, plan, signals, of_farm(plan))
    row = value_of(table, "finetune")
    assert "nonfinite:80" in row["flags"].split()
    assert row["n"] == 16
    assert (
        0.5
        < row["value"]
        < value_of(attacked(tmp_path / "sound", plan, synthetic(plan), of_farm(plan)), "finetune")["value"]
    )
    assert "nonfinite" not in value_of(table, "original")["flags"]


def test_only_the_levels_and_units_of_the_study_are_attacked(tmp_path: Path) -> None:
    """Two architectures share a root and a study; each is attacked by itself, and another study's rows not at all."""
    plan = plan_of(tmp_path, shadows=8, retrains=4, architectures="[cnn_small, resnet18_cifar]")
    signals = synthetic(plan)
    table = attacked(tmp_path / "runs", plan, signals, of_farm(plan))
    small = plan_of(tmp_path, shadows=8, retrains=4)
    assert set(small.units) < set(plan.units)
    alone = table.filter(architecture="cnn_small")
    assert_as_expected(alone, small, signals, of_farm(small))
    assert len(table) == 2 * len(alone)
    store = Store.open(str(tmp_path / "runs"))
    by_itself = attack_rows(small.units, farm_of(small), "farm", store)
    assert by_itself.drop("p_adjusted").equals(alone.drop("p_adjusted"))  # adjusted for fewer rows
    one_level = Farm(farm_of(small).ref, 8, 4, ("L0",))
    assert set(attack_rows(small.units, one_level, "farm", store)["level"]) == {"L0"}


def test_no_signals_give_an_empty_table_of_the_schema(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    table = attacked(tmp_path / "runs", plan, {}, [])
    assert table.is_empty()
    assert table.columns == SCHEMAS["attacks"].names
    whole = audit_farm(plan.units, farm_of(plan), "farm", Store.open(str(tmp_path / "runs")))
    assert all(frame.is_empty() for frame in (whole.attacks, whole.roc, whole.effects, whole.worlds, whole.growth))


def test_roc_curves_rise_and_enclose_the_auc(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    table = attacked(tmp_path / "runs", plan, synthetic(plan), of_farm(plan))
    whole = audit_farm(plan.units, farm_of(plan), "farm", Store.open(str(tmp_path / "runs")))
    assert whole.attacks.equals(table)
    curves, headline = whole.roc, table.filter(pl.col("level") == "L2", pl.col("metric").is_in(["auc", "tpr@0.01"]))
    keys = ["method", "pool", "null"]
    groups = {key: curve.sort("fpr") for key, curve in curves.group_by(keys)}
    assert groups.keys() == set(headline.select(keys).unique().rows())
    for key, curve in groups.items():
        about = dict(zip(keys, key, strict=True))
        assert curve["fpr"].is_unique().all()
        assert (curve["tpr"].diff().drop_nulls() >= 0).all()
        assert (curve["low"] <= curve["tpr"]).all()
        assert (curve["tpr"] <= curve["high"]).all()
        x, y = np.array([0, *curve["fpr"], 1]), np.array([0, *curve["tpr"], 1])
        (area,) = headline.filter(**about, metric="auc")["value"]
        assert np.trapezoid(y, x) == pytest.approx(area, abs=0.03)
        (tpr,) = headline.filter(**about, metric="tpr@0.01")["value"]
        (on_curve,) = curve.filter((pl.col("fpr") - 0.01).abs() < 1e-9)["tpr"]
        assert on_curve == tpr


def attacks_alone(plan: Plan, store: Store) -> Written:
    """Rebuild the attacks table and no other view."""
    store.replace("attacks", attack_rows(plan.units, farm_of(plan), plan.study.name, store), {"study": plan.study.name})
    return Written(Path(store.uri))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The attacks table of twelve shadows of the digits, 60 canaries among them, through the driver."""
    folder = tmp_path_factory.mktemp("real")
    plan = plan_of(
        folder,
        shadows=12,
        retrains=12,
        pools={"canary": 60},
        methods=["{finetune: {lr: 0.05, batch_size: 64, epochs: 2}}"],
        recipe="{epochs: 18}",
        measures="[accuracy, ulira]",
    )
    summary = drive.run(plan.study, str(folder / "runs"), where=drive.Where(device="cpu"), views=attacks_alone)
    assert summary.complete
    store = Store.open(str(folder / "runs"))
    assert len(store.scan("pools").collect()) == 60
    return store.scan("attacks").collect()


@pytest.mark.slow
def test_canaries_leak_from_the_originals_and_not_from_retrains(real: pl.DataFrame) -> None:
    original, finetune = value_of(real, "original"), value_of(real, "finetune")
    assert original["value"] > 0.9
    assert original["value"] >= finetune["value"] > 0.8
    for null in ("O", "R"):
        retrain = value_of(real, "retrain", null)
        assert retrain["low"] < 0.5 < retrain["high"]
        assert abs(retrain["value"] - 0.5) < 0.15
    assert value_of(real, "original", "R")["value"] > 0.9


@pytest.mark.slow
def test_doing_nothing_leaks_what_the_originals_leak(real: pl.DataFrame) -> None:
    """Fitting on the releases of a method that does nothing is fitting on the shadows: L1 and L2 agree to the bit."""
    columns = [c for c in real.columns if c not in ("level", "p_adjusted")]
    real = real.filter(~pl.col("metric").str.starts_with("eps_"))
    levels = [real.filter(method="original", level=level, null="O").select(columns) for level in ("L1", "L2")]
    assert levels[0].equals(levels[1])


@pytest.mark.slow
def test_a_finished_farm_counts_every_shadow(real: pl.DataFrame) -> None:
    never_in = real.filter(null="O")
    assert never_in.select("n", "k_u", "k_o", "examples").unique().rows() == [(12, 6, 6, 60)]
    retrained = real.filter(pl.col("null") == "R", pl.col("method") != "retrain")
    assert retrained.select("n", "k_u", "k_o").unique().rows() == [(24, 6, 12)]
    assert real.filter(null="R", method="retrain").select("n", "k_u", "k_o").unique().rows() == [(12, 6, 6)]
