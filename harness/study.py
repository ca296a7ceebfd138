"""The study: a YAML file that asks a question, validated and resolved against the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from harness import registry
from harness.contracts.architecture import ARCHITECTURES, ArchitectureSpec
from harness.contracts.dataset import DATASETS, DatasetSpec, ValFrom
from harness.contracts.method import METHODS, VARIANT, MethodSpec
from harness.contracts.recipe import Recipe
from harness.contracts.scenario import Facts
from harness.contracts.space import Value
from harness.engine.split import divide, subset_development
from harness.errors import HarnessError, did_you_mean
from harness.farm import Farm, check_size, setting
from harness.farm_deep_unlearn import held_out
from harness.labels import labels
from harness.origin import Search
from harness.studyfile import Measure, Originals, RecipeOverrides, StudyFile, read_study_file
from harness.unit import DEFAULT, DatasetRef, KeepModels, Resources
from harness.yamlfile import Key, YamlFile

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class MethodChoice:
    """A method with the hyperparameters that a study gives it; the others stay at their defaults."""

    spec: MethodSpec
    config: str = DEFAULT
    values: tuple[tuple[str, Value], ...] = ()
    by_name: bool = True
    """False where a glob or `all` chose it: it may then support no scenario of the study."""

    @property
    def searched(self) -> bool:
        """Whether a search has anything to draw: what the study gives stays as it is."""
        given = dict(self.values)
        ranges = self.spec.space_of(str(given.get(VARIANT, "default")))
        return any(range_.searched and name not in given for name, range_ in ranges.items())


@dataclass(frozen=True)
class Study:
    """A resolved study: every name stands for a thing that exists."""

    name: str
    question: str
    datasets: tuple[DatasetRef, ...]
    architectures: tuple[ArchitectureSpec, ...]
    scenarios: tuple[str, ...]
    methods: tuple[MethodChoice, ...]
    seeds: tuple[int, ...]
    recipe: RecipeOverrides
    search: Search | None
    farm: Farm | None
    measures: tuple[Measure, ...]
    resources: Resources
    time_limit: float
    deterministic: bool
    keep_models: KeepModels
    published: tuple[tuple[int, str], ...] = ()
    """How many models others count for the same question, and what they are."""
    originals: Originals = "per_seed"
    """`shared`: every trial starts from the original of the first seed."""
    timed_seeds: int | None = None
    """Run time is measured for so many of the seeds, the first ones; None: for all."""

    def scenarios_on(self, dataset: str) -> list[str]:
        """Return the scenarios on a data set: `class:*` is each of its classes."""
        classes = DATASETS[dataset].classes
        return list(dict.fromkeys(one for text in self.scenarios for one in registry.expand_scenario(text, classes)))

    def search_scenario(self, dataset: str) -> str:
        """Return the scenario whose search gives the farm its hyperparameters: a random one, or else the first."""
        scenarios = self.scenarios_on(dataset)
        return next((text for text in scenarios if text.startswith("random:")), scenarios[0])

    def recipe_for(self, dataset: str, architecture: str) -> Recipe:
        """Return the recipe of a data set and architecture with this study's overrides."""
        own = DATASETS[dataset].recipe_for(architecture)
        return replace(own, **self.recipe.model_dump(exclude_none=True))


def load_study(source: str | Path) -> Study:
    """Return the study of a YAML file, or of a suite by its name (`digits`).

    Raises `InvalidFile` with file:line:key, what is wrong and what would be right.
    """
    registry.load()
    return _resolve(*read_study_file(_locate(source)))


def _locate(source: str | Path) -> Path:
    text = str(source)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return Path(text)
    suites = registry.suites()
    if text not in suites:
        raise registry.UnknownName(f"no suite {text!r}{did_you_mean(text, suites)}; a study file ends in .yaml")
    return suites[text]


def _resolve(file: YamlFile, raw: StudyFile) -> Study:
    datasets = _each(file, "datasets", raw.datasets, _dataset)
    architectures = _each(file, "architectures", raw.architectures, lambda t: registry.match(ARCHITECTURES, t))
    scenarios = _each(file, "scenarios", raw.scenarios, lambda t: [_scenario(t, datasets)])
    entries = ["all"] if raw.methods == "all" else raw.methods
    methods = _each(file, "methods", entries, lambda entry: _method(entry, scenarios))
    _check_measures(file, raw, [registry.tampering_of(text) for text in _expanded(scenarios, datasets)])
    seeds = range(raw.seeds) if isinstance(raw.seeds, int) else raw.seeds
    return Study(
        name=raw.name,
        question=raw.question,
        datasets=datasets,
        architectures=architectures,
        scenarios=scenarios,
        methods=methods,
        seeds=tuple(dict.fromkeys(seeds)),
        recipe=raw.recipe,
        search=_search(file, raw, datasets, scenarios, methods, tuple(dict.fromkeys(seeds))),
        farm=_farm(file, raw, datasets, methods),
        measures=tuple(raw.measures),
        resources=raw.resources if raw.resources == "auto" else raw.resources.model_dump(),
        time_limit=raw.time_limit,
        deterministic=raw.deterministic,
        keep_models=raw.keep_models,
        published=tuple((one.count, one.what) for one in raw.published),
        originals=raw.originals,
        timed_seeds=raw.timed_seeds,
    )


def _expanded(scenarios: Iterable[str], datasets: Iterable[DatasetRef]) -> list[str]:
    """Return every scenario on every data set."""
    numbers = {DATASETS[dataset.name].classes for dataset in datasets}
    return [one for classes in numbers for text in scenarios for one in registry.expand_scenario(text, classes)]


def _check_measures(file: YamlFile, raw: StudyFile, tamperings: list[str]) -> None:
    """Refuse what manipulated training data cannot be asked: it differs from held-out images at sight."""
    told = "attacks on membership say nothing where all scenarios have manipulated training data"
    for position, measure in enumerate(raw.measures):
        if measure in ("ulira", "mia_trio") and all(tamperings):
            named = "measures" in raw.model_fields_set
            leave = f"leave out {measure!r}" if named else f"name the measures, without {measure!r}"
            raise file.error(("measures", position) if named else ("measures",), f"{told}; {leave}")
    if raw.search.trials and any(tamperings):
        told = "a search is led by an attack on membership, which says nothing of manipulated training data"
        raise file.error(("search", "trials"), f"{told}; give such scenarios a study without a search")


def _search(
    file: YamlFile,
    raw: StudyFile,
    datasets: Iterable[DatasetRef],
    scenarios: Iterable[str],
    methods: Iterable[MethodChoice],
    seeds: tuple[int, ...],
) -> Search | None:
    """Return the search of a study, on the first of its seeds; None where nothing is to be searched."""
    if not raw.search.trials:
        return None
    if raw.search.seeds > len(seeds):
        told = f"must be at most {len(seeds)}, as many as the study has, not {raw.search.seeds}"
        raise file.error(("search", "seeds"), told)
    if not any(choice.searched for choice in methods):
        raise file.error(("search", "trials"), "no method of the study has a hyperparameter left to search")
    for dataset, text in ((dataset, text) for dataset in datasets for text in scenarios):
        if any(map(registry.follows, registry.expand_scenario(text, DATASETS[dataset.name].classes))):
            told = "there is no search over requests that follow each other; search in another study, and give the"
            raise file.error(("search", "trials"), f"{text}: {told} hyperparameters here")
    return raw.search.resolve(seeds)


def _farm(
    file: YamlFile, raw: StudyFile, datasets: Iterable[DatasetRef], methods: Iterable[MethodChoice]
) -> Farm | None:
    farm = raw.farm.resolve() if "ulira" in raw.measures else None
    if farm is None:
        return None
    names = _names([(one.spec.name, one.config) for one in methods])
    for position, name in enumerate(farm.methods):
        if name not in names:
            told = f"no method {name!r} in the study{did_you_mean(name, names)}"
            raise file.error(("farm", "methods", position), told)
    farm = replace(farm, methods=tuple(names[name] for name in farm.methods))
    if raw.deterministic and farm.shadows_per_worker > 1:
        told = "shadows that are trained at once differ in the last bits from those trained alone; leave it out, or"
        raise file.error(("farm", "shadows_per_worker"), f"{told} deterministic: true")
    mistake = raw.farm.mistake()
    if mistake is not None:
        raise file.error(("farm", mistake[0]), mistake[1])
    for dataset in datasets:
        try:
            if farm.draws:
                held_out(development_images(dataset))
            else:
                check_size(farm.ref, _training_images(dataset))
        except HarnessError as error:
            key = "design" if farm.draws else "pools"
            raise file.error(("farm", key), f"{error} on {dataset.label}") from error
    return farm


def _names(competitors: list[tuple[str, str]]) -> dict[str, str]:
    """Return what each name may stand for in a farm: a method, or one setting of it, in full or as tables call it."""
    labelled = {label: setting(*one) for one, label in labels(competitors).items()}
    in_full = {setting(*one): setting(*one) for one in competitors}
    return labelled | in_full | {method: method for method, _ in competitors}


def _each(file: YamlFile, key: str, entries: Iterable[T], resolve: Callable[[T], Iterable[R]]) -> tuple[R, ...]:
    """Resolve every entry of a list; an error gets the entry's line. Repeated results count once."""
    found: list[R] = []
    for position, entry in enumerate(entries):
        try:
            found += [thing for thing in resolve(entry) if thing not in found]
        except HarnessError as error:
            inside = error.key if isinstance(error, _Inside) else ()
            raise file.error((key, position, *inside), str(error)) from error
    return tuple(found)


class _Inside(HarnessError):
    """A mistake in a part of an entry, at a key path below it."""

    def __init__(self, key: Key, error: HarnessError) -> None:
        super().__init__(str(error))
        self.key = key


def _dataset(text: str) -> list[DatasetRef]:
    name, at, count = text.partition("@")
    specs = registry.match(DATASETS, name)
    if not at:
        return [_reference(spec, 0) for spec in specs]
    for spec in specs:
        total = spec.development + spec.test
        is_count = count.isascii() and count.isdigit() and len(count) <= len(str(total))
        if not (is_count and 10 * spec.classes <= int(count) < total):
            raise HarnessError(
                f"{text!r}: the subset must be a whole number from {10 * spec.classes} to {total - 1} images"
            )
    return [_reference(spec, int(count)) for spec in specs]


def _reference(spec: DatasetSpec, count: int) -> DatasetRef:
    return DatasetRef(spec.name, spec.version, spec.digest, count)


def _scenario(text: str, datasets: Iterable[DatasetRef]) -> str:
    for dataset in datasets:
        spec = DATASETS[dataset.name]
        facts = Facts(spec.classes, _training_images(dataset), spec.subclasses, min(spec.shape[1:]))
        for one in registry.expand_scenario(text, facts.classes):
            scenario = registry.parse_scenario(one)
            try:
                scenario.check(facts)
            except HarnessError as error:
                raise HarnessError(f"{error} on {dataset.name}") from error
    return text if registry.stands_for_several(text) else str(registry.parse_scenario(text))


def _checked(spec: MethodSpec, values: Mapping[str, Any]) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    variant = str(values.get(VARIANT, "default"))
    for name, value in values.items():
        try:
            checked |= spec.checked({name: value}, variant)
        except HarnessError as error:
            raise _Inside((spec.name, name), error) from error
    return checked


def development_images(dataset: DatasetRef) -> int:
    """Return how many images of a data set are not test: what train and val are drawn from."""
    spec = DATASETS[dataset.name]
    return subset_development(spec.development, spec.development + spec.test, dataset.count)


def _training_images(dataset: DatasetRef) -> int:
    spec = DATASETS[dataset.name]
    return _train_size(development_images(dataset), dataset.count or spec.development + spec.test, spec.val)


@cache
def _train_size(development: int, total: int, val: ValFrom) -> int:
    return len(divide(development, total, val)[0])


def _method(entry: str | Mapping[str, Mapping[str, Any] | None], scenarios: Iterable[str]) -> list[MethodChoice]:
    if isinstance(entry, str):
        by_name = entry in METHODS or (entry != "all" and not any(sign in entry for sign in "*?["))
        choices = [MethodChoice(spec, by_name=by_name) for spec in registry.match(METHODS, entry)]
    elif len(entry) != 1:
        raise HarnessError(f"{len(entry)} methods in one entry; begin each with its own dash")
    else:
        ((name, values),) = entry.items()
        spec = registry.find(METHODS, name)
        checked = sorted(_checked(spec, values or {}).items())
        config = ",".join(f"{key}={str(value).removesuffix('.0')}" for key, value in checked)
        choices = [MethodChoice(spec, config or DEFAULT, tuple(checked))]
    asked = list(scenarios)
    for choice in choices:
        served = any(choice.spec.supports(scenario.partition(":")[0]) for scenario in asked)
        if choice.by_name and asked and not served:
            supported = ", ".join(sorted(choice.spec.scenarios))
            raise HarnessError(f"method {choice.spec.name!r} does not support {asked[0]!r}; it supports: {supported}")
    return choices
