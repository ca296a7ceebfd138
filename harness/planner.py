"""From a study to its plan: every unit with its id and needs, known before anything runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS
from harness.contracts.scenario import SCENARIOS
from harness.farm import Farm
from harness.study import MethodChoice, Study
from harness.unit import DatasetRef, Kind, Named, Unit

RETRAIN, ORIGINAL = "retrain", "original"
AUDIT = Named("audit", 1)
"""The scenario of the farm: forget what of an audit pool is in the shadow."""


def stage(kind: Kind) -> int:
    """Return the stage that runs a kind: trials, then the farm, then timing alone on the machine."""
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

    def counts(self) -> dict[str, int]:
        """Return the number of units of each kind, in the order of the stages."""
        count = Counter(unit.kind for unit in self.units.values())
        return {kind.value: count[kind] for kind in Kind if count[kind]}

    def remaining(self, committed: Collection[str], models: Collection[str]) -> list[Unit]:
        """Return what is still to run: plan minus committed units, and originals whose weights are needed but gone.

        `models` are the ids of the units whose weights are in the store.
        """
        missing = [unit for unit in self.units.values() if unit.id not in committed]
        needed = {need for unit in missing for need in unit.needs}
        return [
            unit
            for unit in self.units.values()
            if unit.id not in committed or (unit.id in needed and unit.id not in models)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the document that is kept beside the results: `status` reads it without any task code."""
        return {
            "id": self.id,
            "study": self.study.name,
            "question": self.study.question,
            "measures": list(self.study.measures),
            "classes": {dataset.label: DATASETS[dataset.name].classes for dataset in self.study.datasets},
            "units": [unit.to_json() | {"id": unit.id} for unit in self.units.values()],
        }


def make_plan(study: Study) -> Plan:
    """Return the plan of a study. Equal studies give equal plans, on every machine and without the data."""
    units: dict[str, Unit] = {}
    left_out: list[str] = []
    for dataset in study.datasets:
        for architecture in study.architectures:
            cell = _Cell(study, dataset, Named(architecture.name, architecture.version))
            for seed in study.seeds:
                units |= {unit.id: unit for unit in cell.units(seed, left_out)}
            if study.farm is not None:
                units |= {unit.id: unit for unit in cell.farm_units(study.farm)}
    stages = sorted(units.values(), key=lambda unit: stage(unit.kind))
    return Plan(study, {unit.id: unit for unit in stages}, tuple(dict.fromkeys(left_out)))


@dataclass(frozen=True)
class _Cell:
    """One data set and architecture of a study: the units of all its scenarios and methods."""

    study: Study
    dataset: DatasetRef
    architecture: Named

    def units(self, seed: int, left_out: list[str]) -> Iterator[Unit]:
        original = self._unit(Kind.ORIGINAL, Named("", 0), MethodChoice(METHODS[ORIGINAL]), seed)
        yield original
        for scenario in self.study.scenarios:
            named = Named(scenario, SCENARIOS[scenario.partition(":")[0]].version)
            for choice in self._methods():
                if not choice.spec.supports(scenario.partition(":")[0]):
                    left_out.append(f"{choice.spec.name} does not support {scenario}")
                    continue
                trial = self._trial(named, choice, seed, original)
                yield trial
                if "run_time" in self.study.measures and choice.spec.name != ORIGINAL:  # doing nothing takes no time
                    yield replace(trial, kind=Kind.TIMING)

    def farm_units(self, farm: Farm) -> Iterator[Unit]:
        """Each shadow, its retrains, and every audited method on it: one after the other, so that it stays warm.

        Shadows for tuning come first: what is chosen on them must be known before the others are audited.
        """
        for shadow in farm.numbers:
            trained = replace(self._unit(Kind.SHADOW, AUDIT, MethodChoice(METHODS[ORIGINAL]), shadow), farm=farm.ref)
            yield trained
            for pool in farm.pools:
                scenario = Named(f"{AUDIT.name}:{pool}", AUDIT.version)
                for choice in self._methods():
                    if choice.spec.name != RETRAIN and choice.spec.supports("random"):
                        unit = self._unit(Kind.SHADOW_UNLEARN, scenario, choice, shadow, (trained.id,))
                    elif choice.spec.name == RETRAIN and shadow < farm.retrains:
                        unit = self._unit(Kind.SHADOW_RETRAIN, scenario, choice, shadow)
                    else:
                        continue
                    yield replace(unit, farm=farm.ref, pool=pool)

    def _trial(self, scenario: Named, choice: MethodChoice, seed: int, original: Unit) -> Unit:
        if choice.spec.name == RETRAIN:
            return self._unit(Kind.RETRAIN, scenario, choice, seed)
        return self._unit(Kind.UNLEARN, scenario, choice, seed, needs=(original.id,))

    def _methods(self) -> Iterable[MethodChoice]:
        """The references come first, whether the study names them or not: every number needs them."""
        references = [MethodChoice(METHODS[name], by_name=False) for name in (RETRAIN, ORIGINAL)]
        return [*references, *(c for c in self.study.methods if c.spec.name not in (RETRAIN, ORIGINAL))]

    def _unit(self, kind: Kind, scenario: Named, choice: MethodChoice, seed: int, needs: tuple[str, ...] = ()) -> Unit:
        return Unit(
            kind=kind,
            dataset=self.dataset,
            scenario=scenario,
            architecture=self.architecture,
            method=Named(choice.spec.name, choice.spec.version),
            recipe=self.study.recipe_for(self.dataset.name, self.architecture.name),
            seed=seed,
            config=choice.config,
            values=dict(choice.values),
            needs=needs,
        )


def with_needs(plan: Plan, chosen: Iterable[Unit]) -> list[Unit]:
    """Return the chosen units and everything they need, in the order of the plan."""
    wanted: set[str] = set()
    pending = [unit.id for unit in chosen]
    while pending:
        identity = pending.pop()
        if identity not in wanted:
            wanted.add(identity)
            pending.extend(plan.units[identity].needs)
    return [unit for unit in plan.units.values() if unit.id in wanted]
