"""What a plan costs, against means and file sizes taken from the root by other means."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import tiny_study

from harness.planner import make_plan
from harness.pricing.price import ROWS_BYTES, price
from harness.store import Store
from harness.study import load_study
from harness.unit import Kind

HEADER = 4000
"""At most so many bytes of a weights file are names and shapes."""


def test_a_root_in_which_nothing_ran_prices_nothing(tiny: Path, tmp_path: Path) -> None:
    units = make_plan(load_study(tiny)).units.values()
    cost = price(units, Store.open(str(tmp_path / "no")), "none")
    assert (cost.seconds, cost.unpriced, cost.bytes) == (0.0, 48, 48 * ROWS_BYTES)


def test_what_ran_before_costs_what_it_cost(tiny: Path, finished: Path) -> None:
    store = Store.open(str(finished))
    spent = store.scan("units").collect()["seconds"].sum()
    cost = price(make_plan(load_study(tiny)).units.values(), store, "none")
    assert cost.seconds == pytest.approx(spent)
    assert cost.unpriced == 0


def test_what_is_new_costs_the_mean_of_its_method_else_of_its_kind(tiny: Path, finished: Path, tmp_path: Path) -> None:
    store = Store.open(str(finished))
    spent = store.scan("units").collect()
    plan = tiny_study.plan_of(tmp_path, seeds=[7], farm=None, methods=["ct", "gradient_ascent"])

    def mean(kind: str, *methods: str) -> float:
        rows = spent.filter(pl.col("kind") == kind)
        value = (rows.filter(pl.col("method").is_in(methods)) if methods else rows)["seconds"].mean()
        assert isinstance(value, float)
        return value

    expected = (
        mean("original", "original")
        + mean("retrain", "retrain")
        + mean("unlearn", "original")
        + mean("unlearn", "ct")
        + mean("unlearn")
        + mean("timing", "retrain")
        + mean("timing", "ct")
        + mean("timing")
    )
    cost = price(plan.units.values(), store, "original")
    assert cost.seconds == pytest.approx(expected)
    assert cost.unpriced == 0
    elsewhere = tiny_study.plan_of(tmp_path, seeds=[7], farm=None, architectures=["resnet18"])
    assert price(elsewhere.units.values(), store, "none").unpriced == len(elsewhere.units)


def test_failed_attempts_price_nothing(own: Path, tiny: Path) -> None:
    store = Store.open(str(own), write=True)
    units = make_plan(load_study(tiny)).units.values()
    before = price(units, store, "none")
    unit = tiny_study.plan_of(own, seeds=[9]).units
    key, spoilt = next((key, unit) for key, unit in unit.items() if unit.kind == Kind.ORIGINAL)
    columns = spoilt.columns() | {"attempt": 1}
    failure = {"phase": "train", "exception": "E", "message": "", "traceback": ""}
    store.commit_failure(
        key, 1, {"units": [columns | {"status": "failed", "seconds": 1e6}], "failures": [columns | failure]}
    )
    assert price(units, store, "none") == before


TRIALS = ("original", "retrain", "unlearn")
OF_FARM = ("shadow", "shadow_retrain", "shadow_unlearn")


@pytest.mark.parametrize(
    ("keep", "kinds"),
    [("none", ()), ("original", ("original",)), ("all", TRIALS), ("farm", (*TRIALS, *OF_FARM))],
)
def test_weights_that_stay_take_what_their_files_take(tiny: Path, finished: Path, keep: str, kinds: tuple[str]) -> None:
    store, plan = Store.open(str(finished)), make_plan(load_study(tiny))
    file = next(path for path in (finished / "models").iterdir())
    cost = price(plan.units.values(), store, keep)  # type: ignore[arg-type]
    count = sum(plan.counts()[kind] for kind in kinds)
    models = cost.bytes - ROWS_BYTES * len(plan.units)
    assert 0 <= count * file.stat().st_size - models <= count * HEADER


def test_half_splits_store_the_signals_of_all_development_images(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "no"))
    sizes = {}
    for queries in (["identity"], ["identity", "flip"]):
        farm = {"design": "half_splits", "shadows": 4, "draws": 2, "queries": queries}
        plan = tiny_study.plan_of(tmp_path, farm=farm)
        count = sum(unit.kind.of_farm for unit in plan.units.values())
        sizes[len(queries)] = price(plan.units.values(), store, "none").bytes - len(plan.units) * ROWS_BYTES
    assert 2 * sizes[1] == sizes[2]
    assert sizes[1] == pytest.approx(count * 4 * 1438)  # float32; 80 % of 1797 digits, as the data set declares


def test_the_bytes_of_rows_are_about_right(finished: Path) -> None:
    parts = [path.stat().st_size for path in (finished / "tables").rglob("*.parquet")]
    assert 0.2 < sum(parts) / (48 * ROWS_BYTES) < 5
