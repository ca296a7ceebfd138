"""From a study to its plan: every unit with its id and needs, known before anything runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.contracts.artifact import artifacts_of, named
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS
from harness.contracts.recipe import Recipe
from harness.contracts.scenario import SCENARIOS
from harness.farm import Farm
from harness.origin import Chosen, Search
from harness.search.gates import Gates
from harness.study import MethodChoice, Study
from harness.unit import DEFAULT, DatasetRef, Kind, Named, Unit

RETRAIN, ORIGINAL = "retrain", "original"
SHARED_SEED = 0
"""The seed of artifacts and of the originals that judge them: studies of other seeds share them, too."""
AUDIT = Named("audit", 1)
"""The scenario of the farm: forget what of an audit pool is in the shadow."""


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

    def remaining(self, committed: Collection[str], models: Collection[str]) -> list[Unit]:
        """Return what is still to run: plan minus committed units, and units whose weights are needed but gone.

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
            if study.search is not None:
                units |= {unit.id: unit for unit in cell.search_units(study.search)}
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
        yield (original := self._original(seed))
        for scenario in self.study.scenarios_on(self.dataset.name):
            where = self._scenario(scenario)
            for choice in self._methods():
                if not choice.spec.supports(scenario.partition(":")[0]):
                    left_out.append(f"{choice.spec.name} does not support {scenario}")
                    continue
                yield from self._shared(where, choice)
                trial = self._chosen(self._trial(where, choice, seed, original), choice, scenario)
                looking = list(self._looking_at(trial, original))
                yield replace(trial, started_from=bool(looking))
                yield from looking
                if seed in self.study.seeds[: self.study.timed_seeds] and "run_time" in self._measures(trial):
                    # What is made once for several trials is made again where one of them is timed.
                    yield replace(trial, kind=Kind.TIMING, needs=trial.needs[:1])

    def _looking_at(self, trial: Unit, original: Unit) -> Iterator[Unit]:
        """What looks at the model of a trial; all that the trial needs is among the needs: it can be made again."""
        if "anamnesis" in self._measures(trial):
            yield replace(trial, kind=Kind.RELEARN, needs=(trial.id, original.id, *trial.needs[1:]))
        if "mia_trio" in self.study.measures:
            yield replace(trial, kind=Kind.ATTACK, needs=(trial.id, *trial.needs))

    def _measures(self, trial: Unit) -> Collection[str]:
        """What is asked of a method at work: doing nothing takes no time, and leaves nothing to learn again."""
        return () if trial.method.name == ORIGINAL else self.study.measures

    def search_units(self, search: Search) -> Iterator[Unit]:
        """Every trial after its original and retrain, and after all trials of earlier generations."""
        for scenario in self.study.scenarios_on(self.dataset.name):
            where = self._scenario(scenario)
            originals = {seed: self._original(seed) for seed in search.seeds}
            for seed, original in originals.items():
                yield original
                yield self._trial(where, _reference(RETRAIN), seed, original)
            for choice in self.study.methods:
                if not (choice.searched and choice.spec.supports(scenario.partition(":")[0])):
                    continue
                yield from self._shared(where, choice)
                trials = {seed: self._trial(where, choice, seed, original) for seed, original in originals.items()}
                for number in range(search.trials):
                    config = _joined(choice.config, f"suggestion={number}")
                    for seeds in search.streams:
                        origin = search.suggested(number, seeds)
                        for seed in seeds:
                            yield replace(trials[seed], kind=Kind.SEARCH, config=config, origin=origin)

    def farm_units(self, farm: Farm) -> Iterator[Unit]:
        """Each shadow, its retrains, and every audited method on it: one after the other, so that it stays warm.

        Shadows for tuning come first: what is chosen on them must be known before the others are audited.
        """
        for shadow in farm.numbers:
            trained = replace(self._unit(Kind.SHADOW, AUDIT, _reference(ORIGINAL), shadow), farm=farm.ref)
            yield trained
            for pool in farm.pools:
                scenario = Named(f"{AUDIT.name}:{pool}", AUDIT.version)
                for choice in self._methods():
                    name, audited = choice.spec.name, farm.audits(choice.spec.name, choice.config)
                    if name != RETRAIN and audited and choice.spec.supports("random"):
                        unit = self._unit(Kind.SHADOW_UNLEARN, scenario, choice, shadow, (trained.id,))
                        unit = self._chosen(unit, choice, self.study.search_scenario(self.dataset.name))
                    elif name == RETRAIN and shadow < farm.retrains:
                        unit = self._unit(Kind.SHADOW_RETRAIN, scenario, choice, shadow)
                    else:
                        continue
                    yield replace(unit, farm=farm.ref, pool=pool)

    def _original(self, seed: int) -> Unit:
        """Return what the trials of a seed start from: the original of that seed, or that of the study's first."""
        if self.study.originals == "shared":
            seed = self.study.seeds[0]
        return self._unit(Kind.ORIGINAL, Named("", 0), _reference(ORIGINAL), seed)

    def _scenario(self, text: str) -> Named:
        return Named(text, SCENARIOS[text.partition(":")[0]].version)

    def _chosen(self, unit: Unit, choice: MethodChoice, scenario: str) -> Unit:
        """Return the unit with the best hyperparameters of a search, if there is one, in place of the defaults."""
        if self.study.search is None or not choice.searched:
            return unit
        config = _joined(choice.config, f"search:{self.study.search.label}")
        return replace(unit, config=config, origin=Chosen(self.study.search, scenario))

    def _trial(self, scenario: Named, choice: MethodChoice, seed: int, original: Unit) -> Unit:
        if choice.spec.name == RETRAIN:
            return self._unit(Kind.RETRAIN, scenario, choice, seed)
        shared = (unit.id for unit in self._shared(scenario, choice) if unit.kind == Kind.ARTIFACT)
        return self._unit(Kind.UNLEARN, scenario, choice, seed, needs=(original.id, *shared))

    def _shared(self, scenario: Named, choice: MethodChoice) -> Iterator[Unit]:
        """The artifacts of a method, each after the original that judges it.

        Settings that a search draws choose no artifact: they are not known yet.
        """
        judge = self._unit(Kind.ORIGINAL, Named("", 0), _reference(ORIGINAL), SHARED_SEED)
        for one in artifacts_of(choice.spec.create(dict(choice.values))):
            spec, values = named(one)
            config = ",".join(f"{key}={value}" for key, value in values.items() if value != spec.defaults()[key])
            made = MethodChoice(spec, config or DEFAULT, tuple(values.items()))
            yield judge
            yield self._unit(Kind.ARTIFACT, scenario, made, SHARED_SEED, needs=(judge.id,))

    def _methods(self) -> Iterable[MethodChoice]:
        """The references come first, whether the study names them or not: every number needs them."""
        references = (_reference(RETRAIN), _reference(ORIGINAL))
        return [*references, *(c for c in self.study.methods if c.spec.name not in (RETRAIN, ORIGINAL))]

    @cached_property
    def _recipe(self) -> Recipe:
        return self.study.recipe_for(self.dataset.name, self.architecture.name)

    def _unit(self, kind: Kind, scenario: Named, choice: MethodChoice, seed: int, needs: tuple[str, ...] = ()) -> Unit:
        return Unit(
            kind=kind,
            dataset=self.dataset,
            scenario=scenario,
            architecture=self.architecture,
            method=Named(choice.spec.name, choice.spec.version),
            recipe=self._recipe,
            seed=seed,
            config=choice.config,
            values=dict(choice.values),
            needs=needs,
        )


def _reference(name: str) -> MethodChoice:
    return MethodChoice(METHODS[name], by_name=False)


def _joined(config: str, origin: str) -> str:
    return origin if config == DEFAULT else f"{config},{origin}"


def with_needs(plan: Plan, chosen: Iterable[Unit]) -> list[Unit]:
    """Return the chosen units and everything they need or wait for, in the order of the plan."""
    wanted: set[str] = set()
    pending = [unit.id for unit in chosen]
    while pending:
        identity = pending.pop()
        if identity not in wanted:
            wanted.add(identity)
            pending.extend(plan.units[identity].needs)
            pending.extend(plan.gates.closing(identity))
    return [unit for unit in plan.units.values() if unit.id in wanted]
