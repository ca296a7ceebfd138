"""One data set and architecture of a study: the units of its trials, its searches and its farm."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from harness import registry
from harness.contracts.artifact import artifacts_of, named
from harness.contracts.method import METHODS
from harness.contracts.recipe import Recipe
from harness.contracts.run import Lent, TrainingArtifact
from harness.contracts.scenario import SCENARIOS
from harness.farm import Farm
from harness.origin import Chosen, Search
from harness.study import MethodChoice, Study
from harness.unit import DEFAULT, DatasetRef, Kind, Named, Unit

RETRAIN, ORIGINAL = "retrain", "original"
SHARED_SEED = 0
"""The seed of artifacts of a request and of the originals that judge them: studies of other seeds share them, too."""
NO_REQUEST = Named("", 0)
"""The scenario of what is trained before any request."""
AUDIT = Named("audit", 1)
"""The scenario of the farm: forget what of an audit pool is in the shadow."""


@dataclass(frozen=True)
class Cell:
    """One data set and architecture of a study: the units of all its scenarios and methods."""

    study: Study
    dataset: DatasetRef
    architecture: Named

    def units(self, seed: int, left_out: list[str]) -> Iterator[Unit]:
        """The trials of a seed, each after what it needs and before what looks at it; `left_out` gets a line for each
        method and scenario that do not go together."""
        yield (original := self._original(seed))
        ended: dict[tuple[str, str, str], Unit] = {}
        for scenario in self._scenarios:
            where, before = self._scenario(scenario), registry.follows(scenario)
            yield from self._evidence.get(scenario, ())
            for choice in self._methods():
                if not choice.spec.supports(scenario.partition(":")[0]):
                    left_out.append(f"{choice.spec.name} does not support {scenario}")
                    continue
                yield from self._shared(where, choice, seed)
                start = ended.get((before, choice.spec.name, choice.config), original)
                trial = self._chosen(self._trial(where, choice, seed, start), choice, scenario)
                looks, is_followed = self._looks_at(trial), self._is_followed(trial)
                trial = replace(trial, started_from=bool(looks) or is_followed or self._is_compared_with(trial))
                if is_followed:
                    ended[scenario, choice.spec.name, choice.config] = trial
                yield trial
                yield from self._looking_at(trial, looks, original)
                if seed in self._timed and "run_time" in self._measures(trial):
                    # What is made once for several trials is made again where one of them is timed.
                    yield replace(trial, kind=Kind.TIMING, needs=trial.needs[:1], started_from=False)

    def _looks_at(self, trial: Unit) -> list[Kind]:
        """What looks at the model of a trial."""
        asked = {
            Kind.RELEARN: "anamnesis" in self._measures(trial),
            Kind.ATTACK: "mia_trio" in self.study.measures and not self.dataset.tampering,
            Kind.PROBE: "probes" in self.study.measures,
            Kind.COMPARE: "likeness" in self.study.measures and self._other(trial) is not None,
        }
        return [kind for kind, is_asked in asked.items() if is_asked]

    def _looking_at(self, trial: Unit, kinds: Iterable[Kind], original: Unit) -> Iterator[Unit]:
        """What looks at the model of a trial; all that the trial needs is among the needs: it can be made again."""
        for kind in kinds:
            needs = (trial.id, *trial.needs)
            if kind == Kind.RELEARN:
                needs = (trial.id, original.id, *trial.needs[1:])
            elif kind == Kind.COMPARE and (other := self._other(trial)) is not None:
                yield other
                needs = (trial.id, other.id, original.id, *trial.needs[1:])
            yield replace(trial, kind=kind, needs=needs, started_from=False)

    def _other(self, trial: Unit) -> Unit | None:
        """What a trial is compared with: the retrain of its seed; a retrain with that of the next seed, if any."""
        seed = self._next[trial.seed] if trial.kind == Kind.RETRAIN else trial.seed
        if trial.kind == Kind.RETRAIN and seed == trial.seed:
            return None
        if (key := (trial.scenario, seed)) not in self._compared:
            unit = self._unit(Kind.RETRAIN, trial.scenario, _reference(RETRAIN), seed)
            self._compared[key] = replace(unit, started_from=True)
        return self._compared[key]

    def _is_compared_with(self, trial: Unit) -> bool:
        """Whether others are compared with a trial, so that its weights must be there until they have been."""
        return trial.kind == Kind.RETRAIN and "likeness" in self.study.measures

    def _is_followed(self, trial: Unit) -> bool:
        """Whether the next request starts from a trial: one of a method at work."""
        is_method = trial.kind == Kind.UNLEARN and trial.method.name != ORIGINAL
        return is_method and trial.scenario.name in self._followed

    def _measures(self, trial: Unit) -> Collection[str]:
        """What is asked of a method at work: doing nothing takes no time, and leaves nothing to learn again."""
        return () if trial.method.name == ORIGINAL else self.study.measures

    def search_units(self, search: Search) -> Iterator[Unit]:
        """Every trial after its original and retrain, and after all trials of earlier generations."""
        suggested = [search.suggested(number, seeds) for number in range(search.trials) for seeds in search.streams]
        for scenario in self._scenarios:
            where = self._scenario(scenario)
            yield from self._evidence.get(scenario, ())
            originals = {seed: self._original(seed) for seed in search.seeds}
            for seed, original in originals.items():
                yield original
                yield self._trial(where, _reference(RETRAIN), seed, original)
            for choice in self.study.methods:
                if not (choice.searched and choice.spec.supports(scenario.partition(":")[0])):
                    continue
                for seed in originals:
                    yield from self._shared(where, choice, seed)
                trials = {seed: self._trial(where, choice, seed, original) for seed, original in originals.items()}
                for origin in suggested:
                    config = _joined(choice.config, f"suggestion={origin.number}")
                    for seed in origin.seeds:
                        yield trials[seed].but(kind=Kind.SEARCH, config=config, origin=origin)

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
        return self._unit(Kind.ORIGINAL, NO_REQUEST, _reference(ORIGINAL), seed)

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
        shared = (unit.id for unit in self._shared(scenario, choice, seed) if unit.kind == Kind.ARTIFACT)
        return self._unit(Kind.UNLEARN, scenario, choice, seed, needs=(original.id, *shared))

    def _shared(self, scenario: Named, choice: MethodChoice, seed: int) -> Iterator[Unit]:
        """The artifacts of a method: those of the request, each after the original that judges it, for all seeds;
        those of the training for all scenarios, each seed its own.

        Settings that a search draws choose no artifact: they are not known yet.
        """
        judge = self._unit(Kind.ORIGINAL, NO_REQUEST, _reference(ORIGINAL), SHARED_SEED)
        for one in artifacts_of(choice.spec.create(dict(choice.values))):
            made = _as_choice(one)
            if named(one)[0].of == "training":
                yield self._unit(Kind.ARTIFACT, NO_REQUEST, made, seed)
            else:
                yield judge
                yield self._unit(Kind.ARTIFACT, scenario, made, SHARED_SEED, needs=(judge.id,))

    def _methods(self) -> Iterable[MethodChoice]:
        """The references come first, whether the study names them or not: every number needs them."""
        references = (_reference(RETRAIN), _reference(ORIGINAL))
        return [*references, *(c for c in self.study.methods if c.spec.name not in (RETRAIN, ORIGINAL))]

    @cached_property
    def _scenarios(self) -> list[str]:
        """The scenarios of the study that have the training data as it is here."""
        scenarios = self.study.scenarios_on(self.dataset.name)
        return [scenario for scenario in scenarios if registry.tampering_of(scenario) == self.dataset.tampering]

    @cached_property
    def _timed(self) -> frozenset[int]:
        """The seeds of trials that are timed."""
        return frozenset(self.study.seeds[: self.study.timed_seeds])

    @cached_property
    def _next(self) -> Mapping[int, int]:
        """The seed after each; the first comes after the last."""
        seeds = self.study.seeds
        return dict(zip(seeds, (*seeds[1:], *seeds[:1]), strict=True))

    @cached_property
    def _compared(self) -> dict[tuple[Named, int], Unit]:
        """The retrains that trials are compared with, by scenario and seed: one for all methods."""
        return {}

    @cached_property
    def _followed(self) -> frozenset[str]:
        """The requests that another one follows."""
        return frozenset(map(registry.follows, self._scenarios))

    @cached_property
    def _evidence(self) -> Mapping[str, tuple[Unit, ...]]:
        """The models by which scenarios divide the training images, each of the seed that all share."""
        return {scenario: tuple(map(self._model, registry.evidence_of(scenario))) for scenario in self._scenarios}

    def _model(self, one: TrainingArtifact | None) -> Unit:
        if one is None:
            return self._unit(Kind.ORIGINAL, NO_REQUEST, _reference(ORIGINAL), SHARED_SEED)
        return self._unit(Kind.ARTIFACT, NO_REQUEST, _as_choice(one), SHARED_SEED)

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
            evidence=tuple(unit.id for unit in self._evidence.get(scenario.name, ())) if scenario.name else (),
        )


def _reference(name: str) -> MethodChoice:
    return MethodChoice(METHODS[name], by_name=False)


def _as_choice(one: Lent) -> MethodChoice:
    """Return an artifact and its hyperparameters as if a study had named it."""
    spec, values = named(one)
    config = ",".join(f"{key}={value}" for key, value in values.items() if value != spec.defaults()[key])
    return MethodChoice(spec, config or DEFAULT, tuple(values.items()))


def _joined(config: str, origin: str) -> str:
    return origin if config == DEFAULT else f"{config},{origin}"
