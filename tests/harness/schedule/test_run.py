"""Units through Ray: the same results as in one process, and nothing is lost whatever a method does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import WeakSet

import polars as pl
import pytest
import torch
from ray.tune.experiment import Trial

from harness import local
from harness.pricing.budget import Budget
from harness.process.deaths import TIME_LIMIT
from harness.schedule import NoRoom, WorkerUnfit, tuning
from harness.schedule.packing import MORE, MORE_WHERE_FULL
from harness.search.searches import Searches
from harness.store import SCHEMAS, Store
from harness.unit import Kind, Unit
from harness.work import Workbench, official

pytestmark = pytest.mark.ray

Run = Callable[..., Any]
MakeUnits = Callable[..., list[Unit]]

OF_THE_MACHINE = {"seconds", "work_seconds", "peak_memory", "device_memory", "host", "started", "share"}


def _named(units: list[Unit], method: str) -> Unit:
    (unit,) = (unit for unit in units if unit.kind == Kind.UNLEARN and unit.method.name == method)
    return unit


@pytest.fixture(scope="module")
def studied(run: Run, make_units: MakeUnits, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Store]:
    """A study on the digits with a search and a farm, run in one process and through Ray."""
    units = make_units(
        ["finetune", "msg"],
        datasets=["digits"],
        search={"trials": 3, "sampler": "nsga3", "population": 2},
        measures=["accuracy", "population_mia", "ulira", "run_time"],
        farm={"shadows": 2, "retrains": 2, "pools": {"canary": {"size": 40, "labels": "random"}}},
    )
    folder = tmp_path_factory.mktemp("equal")
    stores = {name: Store.open(str(folder / name), write=True) for name in ("local", "ray")}
    bench = Workbench(stores["local"], torch.device("cpu"), official.read)
    resolve = {name: Searches(units, store).resolve for name, store in stores.items()}
    local.run_units(
        units,
        bench,
        {},
        time_limit=600.0,
        keep_models="original",
        report=lambda *ended: None,
        resolve=resolve["local"],
    )
    told = run(stores["ray"], units, resolve=resolve["ray"])
    assert set(told.status.values()) == {"done"}
    assert told.status.keys() == {unit.id for unit in units}
    return stores


@pytest.mark.parametrize("table", SCHEMAS)
def test_tables_are_those_of_one_process(studied: Mapping[str, Store], table: str) -> None:
    frames = []
    for store in studied.values():
        frame = store.scan(table).collect()
        if table == "metrics":
            frame = frame.filter(pl.col("metric") != "seconds")
        frames.append(frame.drop(OF_THE_MACHINE, strict=False).select(pl.all()))
    one, many = (frame.sort([c for c in frame.columns if not frame[c].dtype.is_nested()]) for frame in frames)
    assert one.equals(many, null_equal=True)
    assert table not in ("units", "metrics", "signals", "epochs", "hyperparameters") or one.height


def test_a_unit_begins_after_its_needs_and_a_timed_one_alone(studied: Mapping[str, Store]) -> None:
    begin, kind = pl.col("started").dt.epoch("us") / 1e6, pl.col("kind")
    rows = studied["ray"].scan("units").select(kind, "method", begin=begin, end=begin + pl.col("seconds")).collect()
    (original,) = rows.filter(kind == "original").to_dicts()
    assert (rows.filter(kind == "unlearn")["begin"] >= original["end"]).all()
    trials, chosen = rows.filter(kind == "search"), rows.filter((kind == "unlearn") & (pl.col("method") == "msg"))
    assert trials.height == 6
    assert (chosen["begin"] >= trials.filter(pl.col("method") == "msg")["end"].max()).all()
    timed, others = rows.filter(kind == "timing").sort("begin"), rows.filter(kind != "timing")
    assert timed.height == 3
    assert timed["begin"][0] >= others["end"].max()
    assert (timed["begin"][1:] >= timed["end"][:-1]).all()


UNRULY = {
    # method: status, attempts, exception of the last failure, words of its traceback
    "obedient": ("done", 1, None, ""),
    "dies_once": ("done", 2, "WorkerDied", "ActorDiedError|unexpectedly"),
    "dies_always": ("failed", 3, "WorkerDied", "Segmentation fault(.|\n)*unruly.py"),
    "terminated_once": ("done", 2, "WorkerDied", "ActorDiedError|unexpectedly"),
    "full_once": ("done", 2, "OutOfMemoryError", "CUDA out of memory"),
    "hangs": ("failed", 1, TIME_LIMIT, "Timeout(.|\n)*in unlearn"),
    "raises": ("failed", 1, "ZeroDivisionError", "in unlearn(.|\n)*a bug"),
    "exits": ("failed", 1, "SystemExit", "in unlearn"),
    "interrupts": ("failed", 1, "KeyboardInterrupt", "in unlearn"),
}


@pytest.fixture(scope="module")
def misbehaved(
    run: Run, make_units: MakeUnits, unruly: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One run of everything that can go wrong, on quarters of GPUs that exist in name."""
    for note in unruly.iterdir():
        note.unlink()
    units = make_units(list(UNRULY))
    child = replace(_named(units, "obedient"), seed=1)
    children = [replace(child, needs=(_named(units, method).id,)) for method in ("raises", "hangs")]
    store, traces = Store.open(str(tmp_path_factory.mktemp("unruly")), write=True), _traces()
    with redirect_stdout(StringIO()) as printed:
        told = run(store, [*units, *children], resources={"cpu": 1, "gpu": 0.25}, time_limit=60.0)
    return {
        "units": units,
        "children": children,
        "store": store,
        "told": told,
        "notes": unruly,
        "traces": _traces() - traces,
        "printed": printed.getvalue(),
    }


def _traces() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("harness-*.trace"))


@pytest.mark.slow
@pytest.mark.parametrize("method", UNRULY)
def test_every_end_is_a_row(misbehaved: dict[str, Any], method: str) -> None:
    unit, store = _named(misbehaved["units"], method), misbehaved["store"]
    status, attempts, exception, words = UNRULY[method]
    assert misbehaved["told"].status[unit.id] == status
    (row,) = store.scan("units").filter(pl.col("unit") == unit.id).collect().to_dicts()
    assert (row["status"], row["attempt"]) == (status, attempts)
    more = MORE_WHERE_FULL if exception == "OutOfMemoryError" else MORE
    assert row["share"] == min(1, 0.25 * more ** (attempts - 1))
    failures = store.scan("failures").filter(pl.col("unit") == unit.id).sort("attempt").collect()
    assert failures["attempt"].to_list() == list(range(1, attempts + (status == "failed")))
    assert set(failures["exception"]) <= {exception}
    pattern = f"(?s){words}"
    assert all(failures["traceback"].str.contains(pattern))
    assert all("\n" not in message for message in failures["message"])


@pytest.mark.slow
def test_what_needs_a_failed_unit_is_not_tried_and_the_rest_is_done(misbehaved: dict[str, Any]) -> None:
    told, ended = misbehaved["told"].status, misbehaved["store"].committed()
    assert {unit.id for unit in misbehaved["units"]} == told.keys()
    assert ended == {unit for unit, status in told.items() if status == "done"}
    assert not ended & {child.id for child in misbehaved["children"]}
    assert len(list(misbehaved["notes"].glob("obedient-*"))) == 1


@pytest.mark.slow
def test_a_hang_and_a_bug_are_final(misbehaved: dict[str, Any]) -> None:
    for method in ("hangs", "raises"):
        assert len(list(misbehaved["notes"].glob(f"{method}-*"))) == 1


@pytest.mark.slow
def test_ray_says_nothing_of_the_deaths(misbehaved: dict[str, Any]) -> None:
    assert misbehaved["printed"] == ""


@pytest.mark.slow
def test_nothing_is_left_behind(misbehaved: dict[str, Any]) -> None:
    assert not misbehaved["traces"]
    files = [path for path in Path(misbehaved["store"].uri).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".arrow", ".safetensors"}


@pytest.mark.slow
def test_attempts_go_on_and_who_times_has_trained(run: Run, make_units: MakeUnits, store: Store, notes: Path) -> None:
    """A fresh process that times would pay for what a first step loads."""
    units = make_units(["counts"], measures=["accuracy", "run_time"])
    original, _, nothing, counts, _, timed = units
    assert (timed.kind, timed.method) == (Kind.TIMING, counts.method)
    told = run(store, [original, nothing, timed], attempts={nothing.id: 4})
    assert list(told.status.values()) == ["done"] * 3
    rows = store.scan("units").select("unit", "attempt").collect().rows()
    assert dict(rows) == {original.id: 1, nothing.id: 5, timed.id: 1}
    (note,) = notes.glob("forwards-*")
    assert int(note.read_text()) > 0


def test_tune_forgets_what_has_ended_and_nothing_is_lost(
    run: Run, make_units: MakeUnits, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "REMEMBERED", 2)
    known, most, heard = WeakSet[Trial](), [0], tuning.Listener.on_step_end

    def hear(self: tuning.Listener, iteration: int, trials: list[Trial], **info: Any) -> None:
        known.update(trials)
        most[0] = max(most[0], len(known))
        heard(self, iteration, trials, **info)

    monkeypatch.setattr(tuning.Listener, "on_step_end", hear)
    units = make_units(["obedient", "raises", "dies_once"], seeds=6)
    told = run(store, units)
    status = {unit.id: "failed" if unit.method.name == "raises" else "done" for unit in units}
    assert told.status == status
    assert len(units) == 36
    assert most[0] <= 12, "four that have ended, and those that run, wait, or end just now"


def test_nothing_is_suggested_once_the_budget_is_used_up_and_another_run_goes_on(
    run: Run, make_units: MakeUnits, store: Store
) -> None:
    farm = {"shadows": 2, "retrains": 2, "pools": {"clean": {"size": 12}}}
    units = make_units(["obedient"], seeds=3, farm=farm, measures=["accuracy", "ulira", "run_time"])
    budget = Budget(hours=1e-9)
    told = run(store, units, budget=budget)
    assert 1 <= len(told.status) <= 4, "two run at once, and two more were suggested"
    assert set(told.status.values()) == {"done"}
    assert budget.used * 3600 == pytest.approx(sum(place.seconds for place in told.places.values()))
    left = [unit for unit in units if unit.id not in told.status]
    rest = run(store, left, budget=Budget(hours=1.0))
    assert rest.status == {unit.id: "done" for unit in left}


@pytest.mark.slow
def test_what_report_raises_ends_the_run(run: Run, make_units: MakeUnits, store: Store) -> None:
    def report(unit: Unit, status: str, place: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match=r"^enough$"):
        run(store, make_units(["obedient"]), report=report)
    assert len(store.committed()) in (1, 2)  # the one that was reported, and the one beside it


@pytest.mark.slow
def test_a_worker_that_cannot_work_ends_the_run(run: Run, make_units: MakeUnits, store: Store) -> None:
    with pytest.raises(WorkerUnfit, match=r"^a worker on \S+ cannot work: plugin 'no_such_module' [^\n]*$"):
        run(store, make_units(["obedient"]), plugins=("no_such_module",))
    assert not store.committed()


def test_a_unit_that_no_node_can_take_is_refused(run: Run, make_units: MakeUnits, store: Store) -> None:
    with pytest.raises(NoRoom, match=r"^a unit takes 64 CPU and 0 GPU, and no node has them \([^\n]*$"):
        run(store, make_units(["obedient"]), resources={"cpu": 64})


def test_nothing_to_run_is_nothing_to_do(run: Run, store: Store) -> None:
    assert run(store, []).status == {}


def test_both_ways_of_running_call_a_time_limit_the_same() -> None:
    assert local.TimeLimit.__name__ == TIME_LIMIT


@pytest.mark.slow
def test_gpus_are_packed_by_what_was_measured(run: Run, make_units: MakeUnits, store: Store) -> None:
    units = make_units(["obedient", "finetune"], seeds=[0, 1])
    told = run(store, units, device="cuda", plugins=("unruly", "pretended"))
    assert set(told.status.values()) == {"done"}
    rows = store.scan("units").sort("started").collect()
    shares = {method: rows.filter(pl.col("method") == method)["share"].to_list() for method in set(rows["method"])}
    assert rows["share"][0] == 1, "nothing was known"
    assert shares["obedient"][-1] == pytest.approx(1 / 16), "1 GB of 80, and never more than sixteen on one"
    assert shares["finetune"][-1] == 1, "two of 40 GB have no room beside each other"
    full = store.scan("failures").collect()
    assert full["exception"].unique().to_list() == ["OutOfMemoryError"]
    assert full["method"].unique().to_list() == ["finetune"], "guessed by what the training took"
    assert 1 <= full.height <= 2 * 2, "no unit more than twice: three tries reach a whole GPU"
