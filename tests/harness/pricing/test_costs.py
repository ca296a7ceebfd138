"""What a unit will cost, by hand from rows that were made up, and from those that a study has left."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tiny_study

from harness.contracts import METHODS
from harness.planner import Plan
from harness.pricing.costs import Costs, epochs_of, measured, summed
from harness.store import Store
from harness.store.schemas import polars_schema
from harness.unit import Kind, Unit


def plan_of(folder: Path, methods: Sequence[Any] = ("finetune", "ct"), **changes: Any) -> Plan:
    """Return the plan of the tiny study on one seed."""
    return tiny_study.plan_of(folder, methods=list(methods), seeds=1, **changes)


def one(plan: Plan, kind: Kind, method: str) -> Unit:
    """Return the first unit of a kind and method."""
    return next(unit for unit in plan.units.values() if unit.kind == kind and unit.method.name == method)


def row(unit: Unit, seconds: float, **told: Any) -> dict[str, Any]:
    """Return a row of `units`."""
    usual = {"status": "done", "device": "cpu", "share": 1.0, "started": datetime(2026, 1, 1, tzinfo=UTC)}
    return unit.columns() | usual | {"attempt": 1, "seconds": seconds, "epochs": epochs_of(unit)} | told


def costs_of(*rows: Mapping[str, Any], **stated: Any) -> Costs:
    """Return the costs that rows of `units` tell."""
    frame = pl.DataFrame(rows, schema_overrides=polars_schema("units"))
    missing = {name: dtype for name, dtype in polars_schema("units").items() if name not in frame.columns}
    frame = frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in missing.items())
    return Costs.of(summed(frame.lazy()).collect(), **stated)


def test_epochs_are_those_of_recipe_or_hyperparameters(tmp_path: Path) -> None:
    methods = ["finetune", {"ct": {"epochs": 7}}, "kde", "fisher_forgetting"]
    plan = plan_of(tmp_path, methods, recipe={"epochs": 3}, measures=["ulira", "run_time", "anamnesis"])
    default = METHODS["kde"].defaults()
    expected = {
        (Kind.ORIGINAL, "original"): 3,
        (Kind.RETRAIN, "retrain"): 3,
        (Kind.SHADOW, "original"): 3,
        (Kind.SHADOW_RETRAIN, "retrain"): 3,
        (Kind.TIMING, "retrain"): 3,
        (Kind.UNLEARN, "finetune"): METHODS["finetune"].defaults()["epochs"],
        (Kind.UNLEARN, "ct"): 7,
        (Kind.TIMING, "ct"): 7,
        (Kind.SHADOW_UNLEARN, "ct"): 7,
        (Kind.UNLEARN, "kde"): float(default["epochs"]) + float(default["retain_epochs"]),
        (Kind.UNLEARN, "fisher_forgetting"): None,
        (Kind.UNLEARN, "original"): None,
        (Kind.RELEARN, "finetune"): None,
    }
    assert {key: epochs_of(one(plan, *key)) for key in expected} == expected


def test_what_a_search_draws_is_expected_in_the_middle_until_it_is_drawn(tmp_path: Path) -> None:
    methods = ["finetune", {"ct": {"epochs": 7}}]
    plan = plan_of(tmp_path, methods, recipe={"epochs": 30}, search={"trials": 2, "sampler": "random"}, farm=None)
    for kind in (Kind.SEARCH, Kind.UNLEARN):
        unit = one(plan, kind, "finetune")
        assert epochs_of(unit) == 3.5  # 1 to 6, a fifth of 30
        assert epochs_of(replace(unit, drawn={"epochs": 2})) == 2
        assert epochs_of(one(plan, kind, "ct")) == 7


def test_the_work_goes_by_its_epochs_and_what_is_around_it_does_not(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [{"ct": {"epochs": 4}}], farm=None)
    other = plan_of(tmp_path, [{"ct": {"epochs": 10}}], recipe={"epochs": 5}, farm=None)
    known = costs_of(
        row(one(plan, Kind.UNLEARN, "ct"), 10.0, work_seconds=8.0),
        row(one(plan, Kind.ORIGINAL, "original"), 6.0, work_seconds=5.0),
    )
    assert known.price(one(plan, Kind.UNLEARN, "ct")) == 10
    assert known.price(one(other, Kind.UNLEARN, "ct")) == pytest.approx(2 + 8 * 10 / 4)
    assert known.price(one(other, Kind.ORIGINAL, "original")) == pytest.approx(1 + 5 * 5)


def test_a_class_costs_its_mean_and_what_failed_costs_nothing(tmp_path: Path) -> None:
    unit = one(plan_of(tmp_path), Kind.UNLEARN, "ct")
    rows = [row(unit, seconds, work_seconds=1.0) for seconds in (2.0, 4.0)]
    failed = row(unit, 1e6, status="failed")
    known = costs_of(*rows, failed, row(unit, 6.0, status="diverged", work_seconds=1.0))
    assert known.price(unit) == pytest.approx(4)
    assert costs_of(failed).price(unit) is None


def test_units_that_do_the_same_work_speak_for_a_kind_that_has_not_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["finetune", "ct", "gradient_ascent"])
    original, trial = one(plan, Kind.ORIGINAL, "original"), one(plan, Kind.UNLEARN, "ct")
    known = costs_of(row(original, 9.0), row(trial, 3.0), row(one(plan, Kind.UNLEARN, "finetune"), 5.0))
    for kind, method in [(Kind.RETRAIN, "retrain"), (Kind.SHADOW, "original"), (Kind.TIMING, "retrain")]:
        assert known.price(one(plan, kind, method)) == 9
    for kind in (Kind.TIMING, Kind.SHADOW_UNLEARN):
        assert known.price(one(plan, kind, "ct")) == 3
        assert known.price(one(plan, kind, "gradient_ascent")) is None
    assert known.price(one(plan, Kind.UNLEARN, "gradient_ascent")) == 4  # the mean of its kind
    measured_too = costs_of(row(original, 9.0, work_seconds=6.0), row(trial, 3.0, work_seconds=1.0))
    for kind, method, seconds in [
        (Kind.RETRAIN, "retrain", 9),
        *((Kind.SHADOW, "original", 6), (Kind.TIMING, "retrain", 6)),  # they measure next to nothing
        *((Kind.TIMING, "ct", 1), (Kind.SHADOW_UNLEARN, "ct", 1)),
    ]:
        assert measured_too.price(one(plan, kind, method)) == pytest.approx(seconds)
    elsewhere = plan_of(tmp_path, architectures=["resnet18"])
    assert known.price(one(elsewhere, Kind.UNLEARN, "ct")) is None


def test_of_several_devices_the_last_one_counts_with_its_share(tmp_path: Path) -> None:
    unit = one(plan_of(tmp_path), Kind.UNLEARN, "ct")
    gpu = row(unit, 1.0, device="NVIDIA", share=0.25, started=datetime(2026, 2, 1, tzinfo=UTC))
    known = costs_of(row(unit, 30.0), gpu)
    assert (known.price(unit), known.share(unit)) == (1.0, 0.25)
    back = row(unit, 40.0, started=datetime(2026, 3, 1, tzinfo=UTC))
    assert costs_of(row(unit, 30.0), gpu, back).price(unit) == 35


def test_what_is_stated_counts_more_than_what_was_measured(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    ct, finetune = one(plan, Kind.UNLEARN, "ct"), one(plan, Kind.UNLEARN, "finetune")
    known = costs_of(row(ct, 3.0), stated={"unlearn": 20.0, "unlearn/ct": 30.0}, stated_share=0.5)
    assert [known.price(unit) for unit in (ct, finetune)] == [30, 20]
    assert known.price(one(plan, Kind.TIMING, "ct")) == 3
    assert known.share(finetune) == 0.5


def test_what_is_new_is_guessed_by_its_epochs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [{"ct": {"epochs": 4}}], recipe={"epochs": 20}, measures=["run_time", "anamnesis"])
    known = Costs()
    assert known.guess(one(plan, Kind.UNLEARN, "ct")) == 0
    known.learn(one(plan, Kind.ORIGINAL, "original"), 10.0)
    assert known.guess(one(plan, Kind.RETRAIN, "retrain")) == 10
    assert known.guess(one(plan, Kind.UNLEARN, "ct")) == pytest.approx(2)
    assert known.guess(one(plan, Kind.RELEARN, "ct")) == pytest.approx(0.5)  # it has none, and counts as one
    known.learn(one(plan, Kind.UNLEARN, "ct"), 6.0)
    assert known.guess(one(plan, Kind.TIMING, "ct")) == 6


def test_the_table_costs_holds_what_the_units_of_a_study_took(finished: Path) -> None:
    store = Store.open(str(finished))
    found = defaultdict(list)
    for unit in store.scan("units").collect().iter_rows(named=True):
        found[unit["kind"], unit["dataset"], unit["architecture"], unit["method"], unit["device"]].append(unit)
    table = store.scan("costs").collect()
    assert table.height == len(found) > 10
    for told in table.iter_rows(named=True):
        units = found[told["kind"], told["dataset"], told["architecture"], told["method"], told["device"]]
        seconds = [unit["seconds"] for unit in units]
        assert told["units"] == len(units)
        assert told["seconds"] == pytest.approx(statistics.mean(seconds))
        assert told["median"] == pytest.approx(statistics.median(seconds))
        assert told["sd"] == pytest.approx(statistics.stdev(seconds))
        assert told["work_seconds"] == pytest.approx(statistics.mean(unit["work_seconds"] for unit in units))
        assert (told["share"], told["memory"]) == (1, None)
        assert told["last"] == max(unit["started"] for unit in units)
        assert {unit["epochs"] for unit in units} == {told["epochs"]}
    assert measured(store).equals(table.select(measured(store).columns).sort(*table.columns[:5]))
