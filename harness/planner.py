"""From a study to its plan: every unit with its id and needs, known before anything runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from harness import registry
from harness.cell import Cell
from harness.contracts.dataset import DATASETS
from harness.errors import HarnessError
from harness.farm import Farm
from harness.origin import Search
from harness.process.garbage import not_sought
from harness.search.gates import Gate, Gates
from harness.study import Study
from harness.studyfile import Measure
from harness.unit import Kind, Named, Unit

MOST_UNITS = 1_000_000
"""Of a plan: planning takes 50 us for each unit, and gigabytes for so many."""
WITH_UNITS: tuple[Measure, ...] = ("anamnesis", "mia_trio", "likeness", "probes", "run_time")
"""Measures with a unit of their own for each trial."""


class PlanTooLarge(HarnessError):
    """A study of more units than can be planned."""


def stage(kind: Kind) -> int:
    """Return the stage of a kind: trials and what looks at them, then the farm, then timing alone on the machine."""
    return 2 if kind == Kind.TIMING else 1 if kind.of_farm else 0


@dataclass(frozen=True)
class Plan:
    """The units of a study by id, in an order in which every unit comes after its needs."""

    study: Study
    units: Mapping[str, Unit]
    left_out: tuple[str, ...] = ()
    """One line for each method and scenario that a glob chose and that do not go together."""

    @cached_property
    def id(self) -> str:
        """The study's name and a hash of its unit ids."""
        joined = "".join(sorted(self.units))
        return f"{self.study.name}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"

    @cached_property
    def gates(self) -> Gates:
        """What the units of searches wait for."""
        return Gates(list(self.units.values()))

    def counts(self) -> dict[str, int]:
        """Return the number of units of each kind, in the order of the stages."""
        count = Counter(unit.kind for unit in self.units.values())
        return {kind.value: count[kind] for kind in Kind if count[kind]}

    def classes(self) -> dict[str, int]:
        """Return the number of classes of each data set, tampered ones too."""
        return {unit.dataset.label: DATASETS[unit.dataset.name].classes for unit in self.units.values()}

    def remaining(self, committed: Collection[str], models: Collection[str]) -> list[Unit]:
        """Return what is still to run: plan minus committed units, and units whose weights are needed but gone.

        `models` are the ids of the units whose weights are in the store.
        """
        needed: set[str] = set()
        remaining = []
        for unit in reversed([*self.units.values()]):  # what it needs comes before a unit, and may need others in turn
            if unit.id not in committed or (unit.id in needed and unit.id not in models):
                remaining.append(unit)
                needed.update(unit.comes_after)
        return remaining[::-1]

    def to_json(self) -> dict[str, Any]:
        """Return the document that is kept beside the results: `status` reads it without any task code, and no further
        than the ids."""
        return {
            "id": self.id,
            "study": self.study.name,
            "question": self.study.question,
            "measures": list(self.study.measures),
            "classes": self.classes(),
            "ids": [*self.units],
            "units": [unit.to_json() | {"id": unit.id} for unit in self.units.values()],
        }


def make_plan(study: Study) -> Plan:
    """Return the plan of a study. Equal studies give equal plans, on every machine and without the data.

    Raises `PlanTooLarge`, before any unit is made.
    """
    return _make_plan(study, study.search, study.farm)


def make_plan_of_trials(study: Study) -> Plan:
    """Return the plan of a study but for the units of its searches and its farm: nearly all, and none of it is ranked.

    Raises as `make_plan`.
    """
    return _make_plan(study, study.search and replace(study.search, trials=0), None)


@not_sought()
def _make_plan(study: Study, search: Search | None, farm: Farm | None) -> Plan:
    _refuse_too_large(study)
    units: dict[str, Unit] = {}
    left_out: list[str] = []
    for cell in _cells(study):
        if search is not None:
            units |= {unit.id: unit for unit in cell.search_units(search)}
        for seed in study.seeds:
            units |= {unit.id: unit for unit in cell.units(seed, left_out)}
        if farm is not None and not cell.dataset.tampering:
            units |= {unit.id: unit for unit in cell.farm_units(farm)}
    stages = sorted(units.values(), key=lambda unit: stage(unit.kind))
    return Plan(study, {unit.id: unit for unit in stages}, tuple(dict.fromkeys(left_out)))


def _refuse_too_large(study: Study) -> None:
    about = sum(_about(study, dataset.name) for dataset in study.datasets) * len(study.architectures)
    if about > MOST_UNITS:
        raise PlanTooLarge(
            f"study {study.name!r} has about {about:,} units, and a plan has at most {MOST_UNITS:,}; ask for fewer "
            "seeds, scenarios, settings, suggestions or shadows, or divide it"
        )


def _about(study: Study, dataset: str) -> int:
    """Return how many units a data set has on one architecture: one that several methods share may count as several."""
    scenarios = study.scenarios_on(dataset)
    named = Counter(scenario.partition(":")[0] for scenario in scenarios)
    served = [sum(n for name, n in named.items() if one.spec.supports(name)) for one in study.methods]
    trials, further = 2 * len(scenarios) + sum(served), sum(one in study.measures for one in WITH_UNITS)
    count = len(study.seeds) * (1 + trials * (1 + further)) + sum(len(registry.evidence_of(one)) for one in scenarios)
    if study.search is not None:
        searched = sum(n for one, n in zip(study.methods, served, strict=True) if one.searched)
        count += searched * study.search.trials * len(study.search.seeds)
    if study.farm is not None:
        count += len(study.farm.numbers) * (1 + len(study.farm.pools) * (2 + len(study.methods)))
    return count


def _cells(study: Study) -> Iterator[Cell]:
    """Each data set, as it is and as the scenarios of the study have it tampered with, on each architecture."""
    for dataset in study.datasets:
        tamperings = dict.fromkeys(registry.tampering_of(scenario) for scenario in study.scenarios_on(dataset.name))
        for tampering, architecture in product(tamperings, study.architectures):
            named = Named(architecture.name, architecture.version)
            yield Cell(study, replace(dataset, tampering=tampering), named)


def begin_order(units: Sequence[Unit], gates: Gates) -> dict[str, int]:
    """Return the rank by which units begin that could begin at once, by id; `gates` are those among them.

    They go by data set and architecture, since both stay warm in a worker. Among those, originals, artifacts and what
    searches wait for come first, and the rest in the order of the plan: it keeps those of one original together, and
    what looks at a trial behind it, whose weights then need not stay long.
    """
    cells: dict[tuple[str, str], int] = {}

    def key(unit: Unit) -> tuple[int, bool]:
        first = unit.kind.from_scratch or unit.kind == Kind.ARTIFACT
        cell = cells.setdefault((unit.dataset.label, unit.architecture.name), len(cells))
        return cell, not (first or gates.held_by(unit.id))

    return {unit.id: rank for rank, unit in enumerate(sorted(units, key=key))}


def with_needs(plan: Plan, chosen: Iterable[Unit]) -> list[Unit]:
    """Return the chosen units and everything they need or wait for, in the order of the plan."""
    wanted: set[str] = set()
    gates: set[Gate] = set()
    pending = [unit.id for unit in chosen]
    while pending:
        identity = pending.pop()
        if identity not in wanted:
            wanted.add(identity)
            pending.extend(plan.units[identity].comes_after)
            for gate in set(plan.gates.before(identity)) - gates:
                gates.add(gate)
                pending.extend(plan.gates.holding(gate))
    return [unit for unit in plan.units.values() if unit.id in wanted]
