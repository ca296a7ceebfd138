"""The keys of a study file: what is validated before any name is looked up, and how a mistake is told."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.contracts.recipe import Recipe
from harness.errors import did_you_mean
from harness.farm import (
    ATTACKS,
    LEVELS,
    POPULATION,
    Design,
    Farm,
    FarmRef,
    FurtherAttack,
    Labels,
    Level,
    PoolSpec,
    Query,
)
from harness.farm_deep_unlearn import DRAWS
from harness.origin import GENERATION_SIZE, Sampler, Search, Select
from harness.unit import KeepModels
from harness.yamlfile import InvalidFile, Key, YamlFile

Measure = Literal[
    "accuracy",
    "retention_deviation",
    "population_mia",
    "ulira",
    "run_time",
    "anamnesis",
    "mia_trio",
    "challenge",
    "likeness",
    "probes",
]
Originals = Literal["per_seed", "shared"]
"""What trials start from: each from the original of its own seed, or all from that of the study's first seed."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=60)]
Names = Annotated[list[str], Field(min_length=1, max_length=300)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
PLAIN = {
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "string_type": "must be a text",
    "string_pattern_mismatch": "must consist of letters, digits, _ and - (not first)",
    "too_short": "must hold at least one entry",
}
"""What pydantic says in words of Python, by the type of its error."""
SHOWN_CHARACTERS = 60
"""A wrong value is shown if it is no longer than this."""


class _Shown(reprlib.Repr):
    """Writes a value, but no more of it than can be shown: aliases make a few bytes of YAML a value without end."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxset = 3, 8, 8, 8
        self.maxstring = self.maxother = 2 * SHOWN_CHARACTERS

    def repr_int(self, x: int, level: int) -> str:
        """Python writes no whole number of thousands of digits."""
        return repr(x) if x.bit_length() < 4 * SHOWN_CHARACTERS else self.fillvalue


_SHOWN = _Shown()


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
    optimizer: Literal["sgd", "adamw"] | None = None


class PoolFile(BaseModel):
    """One audit pool of a farm; half of it is forgotten in each shadow, in a conditional farm all of it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(ge=8, multiple_of=2)]
    labels: Labels = "own"


class FarmFile(BaseModel):
    """The shadow-model farm of a study; 0 shadows is no farm."""

    model_config = ConfigDict(extra="forbid", strict=True)

    design: Design = "pairs"
    shadows: Annotated[int, Field(ge=0, le=100_000, multiple_of=2)] = 0
    retrains: Annotated[int, Field(ge=0, multiple_of=2)] | None = None
    tuning: Annotated[int, Field(ge=0, le=10_000, multiple_of=2)] = 0
    pools: Annotated[dict[Name, PoolFile], Field(min_length=1, max_length=1000)] = {
        "canary": PoolFile(size=120, labels="random"),
        "clean": PoolFile(size=120),
    }
    draws: Annotated[int, Field(ge=1, le=1000)] = DRAWS
    queries: Annotated[list[Query], Field(min_length=1)] = ["identity"]
    levels: Annotated[list[Level], Field(min_length=1)] = list(LEVELS)
    attacks: list[FurtherAttack] | Literal["all"] = [*ATTACKS]
    methods: Names | Literal["all"] = "all"
    shadows_per_worker: Annotated[int, Field(ge=1, le=256)] = 1
    seed: Seed = 0

    def resolve(self) -> Farm | None:
        """Return the farm; by default half of the shadows, in whole pairs, are also retrained; without pairs, all."""
        if not self.shadows:
            return None
        is_half = self.design == "half_splits"
        pools = () if is_half else tuple(PoolSpec(name, pool.size, pool.labels) for name, pool in self.pools.items())
        usual = self.shadows // 4 * 2 if self.design == "pairs" else self.shadows
        return Farm(
            FarmRef(pools, self.seed, self.design, tuple(self.queries)),
            self.shadows,
            usual if self.retrains is None else self.retrains,
            tuple(self.levels),
            self.tuning,
            self.draws if is_half else 0,
            get_args(FurtherAttack) if self.attacks == "all" else tuple(self.attacks),
            () if self.methods == "all" else tuple(dict.fromkeys(self.methods)),
            self.shadows_per_worker,
        )

    def mistake(self) -> tuple[str, str] | None:
        """Return the key and what is wrong with it where keys do not go together, or None."""
        wrong = ("pools", "seed") if self.design == "half_splits" else ("draws",)
        for key in wrong:
            if key in self.model_fields_set:
                return key, f"design {self.design} has {_HAS[self.design]}; leave the key out"
        if POPULATION in self.pools:
            return "pools", f"{POPULATION} is the name of the test images that releases are compared on; take another"
        if self.retrains is not None and self.retrains > self.shadows:
            return "retrains", f"must be at most the {self.shadows} shadows, not {self.retrains}"
        if self.design == "conditional" and self.retrains == 0:
            return "retrains", "design conditional compares with retrains alone; must be at least 2, not 0"
        if self.queries[0] != "identity" or len(set(self.queries)) < len(self.queries):
            return "queries", f"must be [identity] or [identity, flip], not {self.queries}"
        return None


_HAS: Mapping[Design, str] = {
    "pairs": "pools and no draws",
    "conditional": "pools and no draws",
    "half_splits": "draws of published seeds and no pools",
}


class SearchFile(BaseModel):
    """The search for hyperparameters of a study; 0 trials is none. It runs on the first `seeds` seeds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trials: Annotated[int, Field(ge=0, le=100_000)] = 0
    sampler: Sampler = "nsga3"
    seeds: Annotated[int, Field(ge=1)] = 1
    select: Select = "mean"
    population: Annotated[int, Field(ge=2, le=10_000)] = GENERATION_SIZE

    def resolve(self, seeds: tuple[int, ...]) -> Search:
        """Return the search on the first of the study's seeds."""
        population = self.population if self.sampler == "nsga3" else 0
        return Search(self.trials, self.sampler, seeds[: self.seeds], self.select, population)


class PublishedFile(BaseModel):
    """How many models somebody else counts for the same question, and why the plan has another number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    count: Annotated[int, Field(ge=1)]
    what: str


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
    datasets: Names
    architectures: Names
    scenarios: Names
    methods: (
        Annotated[list[str | dict[str, dict[str, Any] | None]], Field(min_length=1, max_length=1000)] | Literal["all"]
    )
    seeds: Annotated[int, Field(ge=1, le=10_000)] | Annotated[list[Seed], Field(min_length=1, max_length=10_000)] = 1
    originals: Originals = "per_seed"
    recipe: RecipeOverrides = RecipeOverrides()
    search: SearchFile = SearchFile()
    farm: FarmFile = FarmFile()
    measures: Annotated[list[Measure], Field(min_length=1)] = [
        "accuracy",
        "retention_deviation",
        "population_mia",
        "ulira",
        "run_time",
    ]
    timed_seeds: Annotated[int, Field(ge=1)] | None = None
    resources: Literal["auto"] | ResourcesFile = "auto"
    time_limit: Annotated[float, Field(gt=0, le=1e8)] = 3600.0
    deterministic: bool = False
    keep_models: KeepModels = "original"
    published: list[PublishedFile] = []


def read_study_file(path: Path) -> tuple[YamlFile, StudyFile]:
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
    found, shown = _SHOWN.repr(first["input"]), ""
    if first["input"] is not None and len(found) <= SHOWN_CHARACTERS and _SHOWN.fillvalue not in found:
        shown = f", not {found}"
    text = PLAIN.get(first["type"]) or first["msg"][0].lower() + first["msg"][1:]
    return file.error(key, f"{text}{shown}")


def _known_keys(key: Key) -> Iterable[str]:
    """Return the keys that may stand where the last part of a key path stands."""
    if key[0] == "recipe" and len(key) > 1:
        return RecipeOverrides.model_fields
    if key[0] == "published" and len(key) > 1:
        return PublishedFile.model_fields
    if key[0] == "search" and len(key) > 1:
        return SearchFile.model_fields
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


assert set(RecipeOverrides.model_fields) == {field.name for field in fields(Recipe)}
