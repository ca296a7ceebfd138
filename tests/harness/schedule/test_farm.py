"""The farm on real Ray actors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.store import Store
from harness.unit import Kind, Unit

pytestmark = pytest.mark.ray

Run = Callable[..., Any]
MakeUnits = Callable[..., list[Unit]]

FARM = {"shadows": 4, "retrains": 2, "pools": {"clean": {"size": 12}}}


def farm_of(make_units: MakeUnits, *methods: str, **keys: Any) -> list[Unit]:
    units = make_units(methods, farm=FARM, measures=["accuracy", "ulira"], **keys)
    return [unit for unit in units if unit.kind.of_farm]


@pytest.mark.slow
@pytest.mark.usefixtures("notes")
def test_a_shadow_and_all_that_is_done_to_it_stay_with_one_worker(
    run: Run, make_units: MakeUnits, store: Store
) -> None:
    units = farm_of(make_units, "obedient")
    told = run(store, units)
    assert told.status == {unit.id: "done" for unit in units}
    by_shadow: dict[str, set[int]] = {}
    for unit in units:
        if unit.kind != Kind.SHADOW_RETRAIN:
            by_shadow.setdefault(next(iter(unit.needs), unit.id), set()).add(told.places[unit.id].pid)
    assert len(by_shadow) == 4
    # The last bundle may be shared with a worker that has nothing left of its own.
    assert sum(len(workers) == 1 for workers in by_shadow.values()) >= 3
    assert len({place.pid for place in told.places.values()}) == 2, "two cores, two workers, kept to the end"


def test_a_dead_worker_costs_its_own_unit(run: Run, make_units: MakeUnits, store: Store, notes: Path) -> None:
    units = farm_of(make_units, "dies_once", "obedient")
    told = run(store, units)
    assert set(told.status.values()) == {"done"}
    rows = store.scan("units").collect()
    assert sorted(rows["unit"]) == sorted(unit.id for unit in units)
    assert rows.filter(pl.col("attempt") > 1)["method"].unique().to_list() == ["dies_once"]
    deaths = store.scan("failures").collect()
    assert deaths["exception"].to_list() == ["WorkerDied"]


@pytest.mark.slow
@pytest.mark.usefixtures("notes")
def test_what_dies_three_times_is_a_failure_and_the_farm_goes_on(run: Run, make_units: MakeUnits, store: Store) -> None:
    units = [unit for unit in farm_of(make_units, "dies_always", "obedient") if unit.seed < 2]
    told = run(store, units)
    failed = {unit.id for unit in units if unit.method.name == "dies_always"}
    assert failed == {unit for unit, status in told.status.items() if status == "failed"}
    assert len(told.status) == len(units)
    assert store.attempts() == dict.fromkeys(failed, 3)


@pytest.mark.parametrize(
    ("architecture", "together"),
    [("cnn_small", [2, 2, 2, 2]), ("forgetful", [1] * 4), ("unsociable", [1] * 4)],
    ids=["at once", "networks that cannot be", "networks that die of it"],
)
@pytest.mark.usefixtures("notes")
def test_shadows_that_a_worker_trains_at_once_are_units_of_their_own(
    run: Run, make_units: MakeUnits, store: Store, architecture: str, together: list[int]
) -> None:
    units = farm_of(make_units, "obedient", architectures=[architecture])
    told = run(store, units, shadows_per_worker=3)
    assert told.status == {unit.id: "done" for unit in units}
    rows = store.scan("units").collect()
    assert sorted(rows["unit"]) == sorted(unit.id for unit in units)
    assert set(rows["attempt"]) == {1}
    assert rows.filter(pl.col("kind") == "shadow")["together"].to_list() == together
    assert store.scan("failures").collect().is_empty()
