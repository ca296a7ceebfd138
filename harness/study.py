"""The study: a YAML file that asks a question, validated and resolved against the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import registry
from harness.contracts.architecture import ArchitectureSpec
from harness.contracts.catalog import ARCHITECTURES, DATASETS, METHODS
from harness.contracts.dataset import DatasetSpec
from harness.contracts.method import MethodSpec
from harness.contracts.recipe import Recipe
from harness.contracts.space import Value
from harness.engine.split import subset_development, train_and_val
from harness.errors import HarnessError, did_you_mean
from harness.farm import Farm, FarmRef, Labels, PoolSpec, check_size
from harness.schedule import Resources
from harness.unit import DEFAULT, DatasetRef, KeepModels
from harness.yamlfile import InvalidFile, Key, YamlFile

Measure = Literal["accuracy", "retention_deviation", "population_mia", "ulira", "run_time"]
T = TypeVar("T")
R = TypeVar("R")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=60)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
PLAIN = {
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "string_type": "must be a text",
    "string_pattern_mismatch": "must consist of letters, digits, - and _",
    "too_short": "must hold at least one entry",
}
"""What pydantic says in words of Python, by the type of its error."""
SHOWN_CHARACTERS = 60
"""A wrong value is shown if it is no longer than this."""


class RecipeOverrides(BaseModel):
    """The parts of a recipe that a study sets; the data set's own value stands for the others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    schedule: Literal["cosine", "constant"] | None = None
    precision: Literal["fp32", "bf16"] | None = None


class PoolFile(BaseModel):
    """One audit pool of a farm; half of it is forgotten in each shadow."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(ge=8, multiple_of=2)]
    labels: Labels = "true"


class FarmFile(BaseModel):
    """The shadow-model farm of a study; 0 shadows is no farm."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shadows: Annotated[int, Field(ge=0, le=100_000, multiple_of=2)] = 0
    retrains: Annotated[int, Field(ge=0, multiple_of=2)] | None = None
    pools: Annotated[dict[Name, PoolFile], Field(min_length=1)] = {
        "canary": PoolFile(size=120, labels="random"),
        "clean": PoolFile(size=120),
    }
    levels: Annotated[list[Literal["L0", "L1", "L2"]], Field(min_length=1)] = ["L0", "L1", "L2"]
    seed: Seed = 0

    def resolve(self) -> Farm | None:
        """Return the farm; by default half of the shadows, in whole pairs, are also retrained."""
        if not self.shadows:
            return None
        pools = tuple(PoolSpec(name, pool.size, pool.labels) for name, pool in self.pools.items())
        retrains = self.shadows // 4 * 2 if self.retrains is None else self.retrains
        return Farm(FarmRef(pools, self.seed), self.shadows, retrains, tuple(self.levels))


class ResourcesFile(BaseModel):
    """What is set aside for a unit: CPU cores and a share of one GPU. It changes no result."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cpu: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    gpu: Annotated[float, Field(ge=0, le=1)] = 0.0


class StudyFile(BaseModel):
    """The keys of a study file, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    question: str = ""
    datasets: Annotated[list[str], Field(min_length=1)]
    architectures: Annotated[list[str], Field(min_length=1)]
    scenarios: Annotated[list[str], Field(min_length=1)]
    methods: Annotated[list[str | dict[str, dict[str, Any] | None]], Field(min_length=1)] | Literal["all"]
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[list[Seed], Field(min_length=1)] = 1
    recipe: RecipeOverrides = RecipeOverrides()
    farm: FarmFile = FarmFile()
    measures: Annotated[list[Measure], Field(min_length=1)] = [
        "accuracy",
        "retention_deviation",
        "population_mia",
        "ulira",
        "run_time",
    ]
    resources: Literal["auto"] | ResourcesFile = "auto"
    time_limit: Annotated[float, Field(gt=0, le=1e8)] = 3600.0
    keep_models: KeepModels = "original"


@dataclass(frozen=True)
class MethodChoice:
    """A method with the hyperparameters that a study gives it; the others stay at their defaults."""

    spec: MethodSpec
    config: str = DEFAULT
    values: tuple[tuple[str, Value], ...] = ()
    by_name: bool = True
    """False where a glob or `all` chose it: it is then left out of scenarios that it does not support."""


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
    farm: Farm | None
    measures: tuple[Measure, ...]
    resources: Resources
    time_limit: float
    keep_models: KeepModels

    def recipe_for(self, dataset: str, architecture: str) -> Recipe:
        """Return the recipe of a data set and architecture with this study's overrides."""
        own = DATASETS[dataset].recipe_for(architecture)
        return replace(own, **self.recipe.model_dump(exclude_none=True))


def load_study(source: str | Path) -> Study:
    """Return the study of a YAML file, or of a suite by its name (`digits`).

    Raises `InvalidFile` with file:line:key, what is wrong and what would be right.
    """
    registry.load()
    return _resolve(*_read(_locate(source)))


def _locate(source: str | Path) -> Path:
    text = str(source)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return Path(text)
    suites = registry.suites()
    if text not in suites:
        raise registry.UnknownName(f"no suite {text!r}{did_you_mean(text, suites)}; a study file ends in .yaml")
    return suites[text]


def _read(path: Path) -> tuple[YamlFile, StudyFile]:
    file = YamlFile(path)
    try:
        return file, StudyFile.model_validate(file.content)
    except ValidationError as error:
        raise _first_mistake(file, error) from error


def _first_mistake(file: YamlFile, error: ValidationError) -> InvalidFile:
    """Return the mistake that stands first in the file, in one line."""
    mistakes = [(_real_key(file.content, e["loc"]), e) for e in error.errors()]
    keys = [key for key, _ in mistakes]
    # Of a choice (a list, or `all`) pydantic reports every branch: the one that came deepest is the one that was meant.
    meant = [(key, e) for key, e in mistakes if not any(k[: len(key)] == key != k for k in keys)]
    key, first = min(meant, key=lambda item: file.line(item[0]))
    if first["type"] == "extra_forbidden":
        known = _known_keys(key)
        return file.error(key, f"unknown key{did_you_mean(str(key[-1]), known)}")
    if first["type"] == "missing":
        absent = first["loc"][-1]
        return file.error(key if key[-1] == absent else (*key, absent), "the key is missing")
    found = first["input"]
    shown = f", not {found!r}" if found is not None and len(repr(found)) <= SHOWN_CHARACTERS else ""
    text = PLAIN.get(first["type"]) or first["msg"][0].lower() + first["msg"][1:]
    return file.error(key, f"{text}{shown}")


def _known_keys(key: Key) -> Iterable[str]:
    """Return the keys that may stand where the last part of a key path stands."""
    if key[0] == "recipe" and len(key) > 1:
        return RecipeOverrides.model_fields
    if key[0] == "resources" and len(key) > 1:
        return ResourcesFile.model_fields
    if key[0] == "farm" and len(key) > 1:
        return PoolFile.model_fields if key[1] == "pools" else FarmFile.model_fields
    return StudyFile.model_fields


def _real_key(content: Any, location: tuple[str | int, ...]) -> Key:
    """Drop what pydantic adds to a location (the names of union members): keep what exists in the file."""
    key: list[str | int] = []
    here: Any = content
    for part in location:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]
        elif key or part not in StudyFile.model_fields:
            continue
        key.append(part)
    return tuple(key)


def _resolve(file: YamlFile, raw: StudyFile) -> Study:
    datasets = _each(file, "datasets", raw.datasets, _dataset)
    architectures = _each(file, "architectures", raw.architectures, lambda t: registry.match(ARCHITECTURES, t))
    scenarios = _each(file, "scenarios", raw.scenarios, lambda t: [_scenario(t, datasets)])
    entries = ["all"] if raw.methods == "all" else raw.methods
    methods = _each(file, "methods", entries, lambda entry: _method(entry, scenarios))
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
        farm=_farm(file, raw, datasets),
        measures=tuple(raw.measures),
        resources=raw.resources if raw.resources == "auto" else raw.resources.model_dump(),
        time_limit=raw.time_limit,
        keep_models=raw.keep_models,
    )


def _farm(file: YamlFile, raw: StudyFile, datasets: Iterable[DatasetRef]) -> Farm | None:
    farm = raw.farm.resolve() if "ulira" in raw.measures else None
    if farm is None:
        return None
    if farm.retrains > farm.shadows:
        raise file.error(("farm", "retrains"), f"must be at most the {farm.shadows} shadows, not {farm.retrains}")
    for dataset in datasets:
        try:
            check_size(farm.ref, _training_images(dataset))
        except HarnessError as error:
            raise file.error(("farm", "pools"), f"{error} on {dataset.label}") from error
    return farm


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
        if not (count.isascii() and count.isdigit() and 10 * spec.classes <= int(count) < total):
            raise HarnessError(
                f"{text!r}: the subset must be a whole number from {10 * spec.classes} to {total - 1} images"
            )
    return [_reference(spec, int(count)) for spec in specs]


def _reference(spec: DatasetSpec, count: int) -> DatasetRef:
    return DatasetRef(spec.name, spec.version, spec.digest, count)


def _scenario(text: str, datasets: Iterable[DatasetRef]) -> str:
    scenario = registry.parse_scenario(text)
    for dataset in datasets:
        try:
            scenario.check(DATASETS[dataset.name].classes, _training_images(dataset))
        except HarnessError as error:
            raise HarnessError(f"{error} on {dataset.name}") from error
    return str(scenario)


def _checked(spec: MethodSpec, values: Mapping[str, Any]) -> dict[str, Value]:
    checked: dict[str, Value] = {}
    for name, value in values.items():
        try:
            checked |= spec.checked({name: value})
        except HarnessError as error:
            raise _Inside((spec.name, name), error) from error
    return checked


def _training_images(dataset: DatasetRef) -> int:
    spec = DATASETS[dataset.name]
    development = subset_development(spec.development, spec.development + spec.test, dataset.count)
    return len(train_and_val(development)[0])


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
    for choice in choices:
        for scenario in scenarios:
            if choice.by_name and not choice.spec.supports(scenario.partition(":")[0]):
                supported = ", ".join(sorted(choice.spec.scenarios))
                raise HarnessError(
                    f"method {choice.spec.name!r} does not support {scenario!r}; it supports: {supported}"
                )
    return choices


assert set(RecipeOverrides.model_fields) == {field.name for field in fields(Recipe)}
