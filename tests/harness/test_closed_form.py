"""The closed-form farm, from the study file through training, unlearning, the store and the audit to its table."""

from __future__ import annotations

from collections.abc import Iterator

import closed_form
import numpy as np
import polars as pl
import pytest
import tiny_farm
from polars.testing import assert_frame_equal
from tiny_farm import farm_of, plan_of

from harness.audit import attack_rows
from harness.farm import draw_pools
from harness.planner import Plan

SHADOWS = 64
RHOS = (1.0, 0.5, 0.2, 0.0, -0.5)
EXACT, RETRAIN = {"config": "rho=0"}, {"method": "retrain"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with closed_form.declared():
        yield plan_of(
            tmp_path_factory.mktemp("closed"),
            shadows=SHADOWS,
            retrains=SHADOWS,
            pools={"clean": 100},
            methods=[f"{{residual: {{rho: {rho}}}}}" for rho in RHOS],
            datasets="[means]",
            architectures="[mean]",
            measures="[accuracy, ulira]",
        )


@pytest.fixture(scope="module")
def table(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    store = tiny_farm.run(plan, tmp_path_factory.mktemp("root"))
    return attack_rows(plan.units, farm_of(plan), "closed", store)


def expected(plan: Plan, rho: float) -> float:
    images = closed_form.pixels()
    pool = draw_pools(farm_of(plan).ref, np.zeros(len(images), dtype=np.int64), 2)["clean"]
    gram = images @ images[pool.positions].T
    return closed_form.expected_auc(closed_form.effects(gram, pool.positions, rho), SHADOWS)


def headline(table: pl.DataFrame, rho: float, null: str) -> dict[str, float]:
    (row,) = table.filter(config=f"rho={rho:g}", null=null, level="L2", metric="auc").rows(named=True)
    assert (row["k_u"], row["k_o"]) == (SHADOWS // 2, SHADOWS // 2 if null == "O" else SHADOWS)
    return row


@pytest.mark.parametrize("rho", RHOS)
def test_auc_is_that_of_the_formula(plan: Plan, table: pl.DataFrame, rho: float) -> None:
    found = headline(table, rho, "O")
    assert abs(found["value"] - expected(plan, rho)) < 4 * found["se"]


def test_against_retrains_only_exact_unlearning_passes(plan: Plan, table: pl.DataFrame) -> None:
    """What else is forgotten adds to the spread of a release, not of a retrain, so more shows than the means say."""
    found = {rho: headline(table, rho, "R") for rho in RHOS}
    for rho, row in found.items():
        assert row["value"] > expected(plan, rho) - 4 * row["se"]
    assert abs(found[0.0]["value"] - 0.5) < 4 * found[0.0]["se"]
    assert found[0.0]["low"] < 0.5 < found[0.0]["high"]
    assert 0.5 < found[0.2]["low"] < found[0.5]["low"] < found[1.0]["low"]


def test_one_sided_attacks_take_forgetting_too_much_for_forgetting(table: pl.DataFrame) -> None:
    """Below 0 the forgotten images stand out by a lower phi: the attack on phi itself reads less than a half."""
    assert headline(table, -0.5, "O")["low"] > 0.5
    (one_sided,) = table.filter(config="rho=-0.5", null="O", level="L0", metric="auc")["high"]
    assert one_sided < 0.5


def test_exact_unlearning_is_audited_like_a_retrain(table: pl.DataFrame) -> None:
    """They are the same mean up to rounding, reached on two ways."""
    headlines = table.filter(pl.col("null") == "O", pl.col("level") == "L2", ~pl.col("metric").str.starts_with("eps"))
    columns = ["metric", "value", "low", "high"]
    exact, retrain = (headlines.filter(**about).select(columns) for about in (EXACT, RETRAIN))
    assert exact.height > 1
    assert_frame_equal(exact, retrain, check_exact=False, abs_tol=0.02)
