"""Run stored units again and compare: does the same question give the same answer?"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from harness import registry
from harness.contracts.artifact import ARTIFACTS
from harness.contracts.catalog import Catalog
from harness.contracts.method import METHODS
from harness.engine.device import describe
from harness.errors import HarnessError
from harness.search.searches import Searches
from harness.store import Store
from harness.store.schemas import KEYS
from harness.unit import Kind, Unit
from harness.work import Workbench, official, perform

if TYPE_CHECKING:
    from torch import Tensor

COMPARED = ("units", "hyperparameters", "metrics", "epochs", "traces", "signals", "sheets")
INCIDENTAL = frozenset(
    {"attempt", "seconds", "work_seconds", "peak_memory", "device", "share", "host", "started", "versions", "together"}
)
"""Columns that say where and when a unit ran, not what it found."""
TOLERANCE: Mapping[str, float] = {"cpu": 0.0, "cuda": 0.01}
"""By how much a number may differ, absolutely: on a CPU not by a bit; on CUDA some kernels add up in any order, unless
the study says `deterministic: true` and the device is of the same kind.

The larger one counts where the unit had run on another kind of device, or a shadow was trained together with others."""


class NotReproducible(HarnessError):
    """A unit that cannot be run again as it was."""


@dataclass(frozen=True)
class Difference:
    """A value that is another one than it was."""

    table: str
    what: str
    stored: str
    again: str


@dataclass(frozen=True)
class Reproduction:
    """What came of running a unit again: how many values were compared, and which differ."""

    unit: Unit
    compared: int
    differences: tuple[Difference, ...]
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class _Scratch:
    """Where a unit is run again: what it writes is thrown away, what it starts from may be lent by the real store."""

    own: Store
    lender: Store

    def commit(self, unit: str, rows: Mapping[str, list[dict[str, object]]]) -> None:
        self.own.commit(unit, rows)

    def commit_failure(self, unit: str, attempt: int, rows: Mapping[str, list[dict[str, object]]]) -> None:
        self.own.commit_failure(unit, attempt, rows)

    def save_model(self, unit: str, state: Mapping[str, Tensor]) -> str:
        return self.own.save_model(unit, state)

    def load_model(self, unit: str, device: str = "cpu") -> dict[str, Tensor]:
        return (self.own if self.own.has_model(unit) else self.lender).load_model(unit, device)


def find(store: Store, begun: str) -> tuple[Unit, Mapping[str, Unit]]:
    """Return the one unit whose id begins so, with all units of a plan that has it.

    Raises NotReproducible where none or several do, or the unit has no result.
    """
    registry.load()
    found: dict[str, Mapping[str, Unit]] = {}
    for plan in store.plans():
        planned = _planned(store, plan)
        found |= {identity: planned for identity in planned if identity.startswith(begun)}
    if len(found) != 1:
        many = f"{len(found)} units" if found else "no unit"
        raise NotReproducible(f"{many} of the plans in {store.address} begin with {begun!r}; give more of one id")
    ((identity, units),) = found.items()
    return units[identity], units


def _planned(store: Store, plan: str) -> dict[str, Unit]:
    try:
        found = {document["id"]: Unit.from_json(document) for document in store.read_plan(plan)["units"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotReproducible(f"plan {plan} in {store.address} has a unit of another version: {error!r}") from error
    if lost := {need for unit in found.values() for need in unit.comes_after} - found.keys():
        raise NotReproducible(f"plan {plan} in {store.address} lacks unit {min(lost)}, which others need")
    return found


def reproduce(
    unit: Unit, units: Mapping[str, Unit], store: Store, device: torch.device, data: str | None = None
) -> Reproduction:
    """Run a unit once more, away from the store, and compare it with what the store has.

    `units` are those of its plan: what it needs and is not in the store is made again, too. Raises NotReproducible
    where the unit has no result, or the code is of another version.
    """
    if unit.id not in store.committed():
        raise NotReproducible(f"{unit} has no result to compare with; run it first, or: harness retry STUDY --failed")
    resolve = Searches(units.values(), store).resolve
    with tempfile.TemporaryDirectory(prefix="harness-repro-") as folder:
        scratch = Store.open(str(Path(folder) / "root"), write=True)
        read, deterministic = partial(official.read, data=data), _was_deterministic(store, unit)
        bench = Workbench(_Scratch(scratch, store), device, read, deterministic=deterministic)
        ran = list(_to_run(unit, units, store))
        for one in ran:
            _refuse_other_version(one)
            if perform(resolve(one), bench, keep_models="farm") == "failed":
                message = scratch.scan("failures").filter(pl.col("unit") == one.id).collect()["message"][0]
                raise NotReproducible(f"{one} failed this time: {message}")
        rows = [(name, _rows(store, name, unit), _rows(scratch, name, unit)) for name in COMPARED]
        devices = {describe(device), *_devices(store, unit)}
    tolerance = 0.0 if deterministic and len(devices) == 1 else max(map(_tolerance, devices))
    if _trained_together(store, ran):
        tolerance = max(TOLERANCE.values())
    differences = [one for name, stored, again in rows for one in _differences(name, stored, again, tolerance)]
    return Reproduction(unit, sum(map(_values, (stored for _, stored, _ in rows))), tuple(differences), tolerance)


def _tolerance(device: str) -> float:
    return TOLERANCE.get(device.partition(":")[0], max(TOLERANCE.values()))


def _was_deterministic(store: Store, unit: Unit) -> bool:
    """Say whether a unit ran with kernels that always give the same bits, as its row says."""
    rows = store.scan("units").filter(pl.col("unit") == unit.id).collect()
    return any("deterministic" in json.loads(text) for text in rows["versions"].drop_nulls())


def _devices(store: Store, unit: Unit) -> list[str]:
    """Return on what a unit has run, as its row says: `cpu`, `cuda:` and a name."""
    devices: list[str] = (
        store.scan("units").filter(pl.col("unit") == unit.id).collect()["device"].drop_nulls().to_list()
    )
    return devices


def _trained_together(store: Store, units: Sequence[Unit]) -> bool:
    """Whether some of the units were shadows that were trained at once with others: alone they round differently."""
    of_these = pl.col("unit").is_in([unit.id for unit in units])
    return bool((store.scan("units").filter(of_these).collect()["together"] > 1).any())


def _to_run(unit: Unit, units: Mapping[str, Unit], store: Store) -> Iterator[Unit]:
    """Yield what has to run, each once and after what it needs itself, the unit last."""
    seen: set[str] = set()

    def after(one: Unit) -> Iterator[Unit]:
        for need in one.comes_after:
            if need not in seen and not store.has_model(need):
                seen.add(need)
                yield from after(units[need])
        yield one

    yield from after(unit)


def _refuse_other_version(unit: Unit) -> None:
    catalog: Catalog[Any] = ARTIFACTS if unit.kind == Kind.ARTIFACT else METHODS
    spec = registry.find(catalog, unit.method.name)
    if spec.version != unit.method.version:
        raise NotReproducible(
            f"{unit} is of version {unit.method.version}, and {unit.method.name!r} is now of version {spec.version}; "
            "the column versions of the table units names the commit that computed it"
        )


Rows = dict[tuple[str, ...], dict[str, Any]]


def _rows(store: Store, table: str, unit: Unit) -> Rows:
    """Return the rows about a unit by their key, without what is incidental."""
    frame = store.scan(table).filter(pl.col("unit") == unit.id).collect()
    if table == "metrics":
        frame = frame.filter(pl.col("metric") != "seconds")
    key = [name for name in KEYS[table] if name not in ("unit", "attempt")]
    kept = [name for name in frame.columns if name not in INCIDENTAL and name not in key]
    return {tuple(str(row[name]) for name in key): {name: row[name] for name in kept} for row in frame.to_dicts()}


def _values(rows: Rows) -> int:
    return sum(len(value) if isinstance(value, list) else 1 for row in rows.values() for value in row.values())


def _differences(table: str, stored: Rows, again: Rows, tolerance: float) -> Iterator[Difference]:
    for key in sorted(stored.keys() | again.keys()):
        before, after = stored.get(key), again.get(key)
        if before is None or after is None:
            yield Difference(
                table, " ".join(key), "no row" if before is None else "", "no row" if after is None else ""
            )
            continue
        for name, value in before.items():
            # Weights that were not kept, or need not be, are no difference.
            is_unkept = name == "model" and (value is None or after[name] is None or tolerance > 0)
            if not is_unkept and not _equal(value, after[name], tolerance):
                yield Difference(table, " ".join((*key, name)), _text(value), _text(after[name]))


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, Sequence) and not isinstance(one, str) and isinstance(other, Sequence):
        return len(one) == len(other) and all(_equal(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= tolerance
    return bool(one == other)


def _text(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, list) else str(value)
