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
from harness.errors import HarnessError, did_you_mean
from harness.farm import Farm, FarmRef, Labels, PoolSpec
from harness.unit import DEFAULT, DatasetRef, KeepModels
from harness.yamlfile import InvalidFile, Key, YamlFile

Measure = Literal["accuracy", "retention_deviation", "population_mia", "ulira", "run_time"]
T = TypeVar("T")
R = TypeVar("R")


class RecipeOverrides(BaseModel):
    """The parts of a recipe that a study sets; the data set's own value stands for the others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
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

    shadows: Annotated[int, Field(ge=0, multiple_of=2)] = 0
    retrains: Annotated[int, Field(ge=0, multiple_of=2)] | None = None
    pools: Annotated[dict[str, PoolFile], Field(min_length=1)] = {
        "canary": PoolFile(size=120, labels="random"),
        "clean": PoolFile(size=120),
    }
    levels: Annotated[list[Literal["L0", "L1", "L2"]], Field(min_length=1)] = ["L0", "L1", "L2"]
    seed: Annotated[int, Field(ge=0)] = 0

    def resolve(self) -> Farm | None:
        """Return the farm; by default half of the shadows, in whole pairs, are also retrained."""
        if not self.shadows:
            return None
        pools = tuple(PoolSpec(name, pool.size, pool.labels) for name, pool in self.pools.items())
        retrains = self.shadows // 4 * 2 if self.retrains is None else self.retrains
        return Farm(FarmRef(pools, self.seed), self.shadows, min(retrains, self.shadows), tuple(self.levels))


class StudyFile(BaseModel):
    """The keys of a study file, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=60)]
    question: str = ""
    datasets: Annotated[list[str], Field(min_length=1)]
    architectures: Annotated[list[str], Field(min_length=1)]
    scenarios: Annotated[list[str], Field(min_length=1)]
    methods: Annotated[list[str | dict[str, dict[str, Any] | None]], Field(min_length=1)] | Literal["all"]
    seeds: Annotated[int, Field(ge=1)] | Annotated[list[int], Field(min_length=1)] = 1
    recipe: RecipeOverrides = RecipeOverrides()
    farm: FarmFile = FarmFile()
    measures: Annotated[list[Measure], Field(min_length=1)] = [
        "accuracy",
        "retention_deviation",
        "population_mia",
        "ulira",
        "run_time",
    ]
    time_limit: Annotated[float, Field(gt=0)] = 3600.0
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
    key, first = min(mistakes, key=lambda item: (file.line(item[0]), -len(item[0])))
    if first["type"] == "extra_forbidden":
        known = _known_keys(key)
        return file.error(key, f"unknown key{did_you_mean(str(key[-1]), known)}")
    if first["type"] == "missing":
        return file.error(key, "the key is missing")
    found = first["input"]
    shown = f", not {found!r}" if isinstance(found, str | int | float | bool) else ""
    return file.error(key, f"{first['msg'][0].lower()}{first['msg'][1:]}{shown}")


def _known_keys(key: Key) -> Iterable[str]:
    """Return the keys that may stand where the last part of a key path stands."""
    if key[0] == "recipe" and len(key) > 1:
        return RecipeOverrides.model_fields
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
        farm=raw.farm.resolve() if "ulira" in raw.measures else None,
        measures=tuple(raw.measures),
        time_limit=raw.time_limit,
        keep_models=raw.keep_models,
    )


def _each(file: YamlFile, key: str, entries: Iterable[T], resolve: Callable[[T], Iterable[R]]) -> tuple[R, ...]:
    """Resolve every entry of a list; an error gets the entry's line. Repeated results count once."""
    found: list[R] = []
    for position, entry in enumerate(entries):
        try:
            found += [thing for thing in resolve(entry) if thing not in found]
        except HarnessError as error:
            raise file.error((key, position), str(error)) from error
    return tuple(found)


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
            scenario.check(DATASETS[dataset.name].classes)
        except HarnessError as error:
            raise HarnessError(f"{error} on {dataset.name}") from error
    return str(scenario)


def _method(entry: str | Mapping[str, Mapping[str, Any] | None], scenarios: Iterable[str]) -> list[MethodChoice]:
    if isinstance(entry, str):
        by_name = entry in METHODS or (entry != "all" and not any(sign in entry for sign in "*?["))
        choices = [MethodChoice(spec, by_name=by_name) for spec in registry.match(METHODS, entry)]
    elif len(entry) != 1:
        raise HarnessError(f"{len(entry)} methods in one entry; begin each with its own dash")
    else:
        ((name, values),) = entry.items()
        spec = registry.find(METHODS, name)
        checked = spec.checked(values or {})
        config = ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in sorted(checked.items())
        )
        choices = [MethodChoice(spec, config or DEFAULT, tuple(sorted(checked.items())))]
    for choice in choices:
        for scenario in scenarios:
            if choice.by_name and not choice.spec.supports(scenario.partition(":")[0]):
                supported = ", ".join(sorted(choice.spec.scenarios))
                raise HarnessError(
                    f"method {choice.spec.name!r} does not support {scenario!r}; it supports: {supported}"
                )
    return choices


assert set(RecipeOverrides.model_fields) == {field.name for field in fields(Recipe)}
