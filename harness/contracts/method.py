"""The contract of an unlearning method: one class, declared once, in one file of `tasks/methods/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, dataclass_transform

from harness.contracts.catalog import Catalog, first_line, snake_case
from harness.contracts.parts import TEST, Part
from harness.contracts.run import Run
from harness.contracts.scenario import SCENARIOS
from harness.contracts.space import (
    InvalidHyperparameter,
    Range,
    Value,
    choice,
    fixed,
    integer,
    log_uniform,
    uniform,
    variants,
)
from harness.contracts.view import View
from harness.errors import did_you_mean

if TYPE_CHECKING:
    from torch import nn

ANY: frozenset[str] = frozenset({"*"})
"""A method that supports every scenario."""

VARIANT = "variant"
"""The hyperparameter that names a variant of a method."""

REFERENCE = "reference"
"""The variant that does what the released code does, step by step."""


class Method(Protocol):
    """An instance carries one set of hyperparameters; it must not keep anything else.

    Its process runs other units before and after it. Put back afterwards is what it sets there: working folder,
    environment, handlers of signals, limits, warnings, all that torch and numpy have once. Processes that it leaves
    behind are ended, and with a thread that goes on the whole process is replaced. What it changes in place of images,
    labels or the weights that it started from, other than its own copies, fails its unit. What it prints is no result:
    the last 8,000 bytes are kept with a failure; with `--local` as much as a person can read goes to standard error. A
    unit that takes longer than the `time_limit` of the study is ended, whatever it catches; one whose process ends is
    tried three times.

    A class may also have

    * `artifacts() -> Sequence[Artifact | TrainingArtifact]`, of an instance: what it may ask its run for.
    * `network(build: Build) -> nn.Module`, of an instance: the network that `unlearn` returns, with any weights, where
      that is not one of the architecture. Modules that the architecture names are not found in it: what is measured of
      them, or of its weights beside another model's, is then unknown.
    """

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the unlearned model; `model` is its own copy of the original and may be changed in place."""


@dataclass(frozen=True)
class MethodSpec:
    """A declared method: what it reads, where it applies, what can be set."""

    name: str
    cls: type[Any]
    reads: frozenset[Part]
    scenarios: frozenset[str]
    version: int
    source: str
    space: Mapping[str, Range]
    reference: bool

    @property
    def module(self) -> str:
        """The module that declares it."""
        return str(self.cls.__module__)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return first_line(self.cls.__doc__)

    def supports(self, scenario: str) -> bool:
        """Whether it can serve a scenario, given by name (`random`, `class`)."""
        like = SCENARIOS[scenario].like if scenario in SCENARIOS else scenario
        return not self.scenarios.isdisjoint({"*", scenario, like})

    @property
    def overrides(self) -> Mapping[str, Mapping[str, Range]]:
        """The ranges that replace those of `space`, by variant; none for most methods."""
        return self.space[VARIANT].overrides if VARIANT in self.space else {}

    def space_of(self, variant: str) -> Mapping[str, Range]:
        """Return the ranges under a variant of the method."""
        return {**self.space, **self.overrides.get(variant, {})}

    def defaults(self, variant: str = "default") -> dict[str, Value]:
        """Return every hyperparameter at its default under a variant."""
        values = {name: range_.default for name, range_ in self.space_of(variant).items()}
        return {**values, VARIANT: variant} if VARIANT in values else values

    def complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the given values, and the defaults of their variant elsewhere."""
        return {**self.defaults(str(values.get(VARIANT, "default"))), **values}

    def checked(self, values: Mapping[str, Any], variant: str = "default") -> dict[str, Value]:
        """Return the given values in their types, or raise `InvalidHyperparameter`; the ranges are the variant's."""
        space = self.space_of(variant)
        for name in values:
            if name not in space:
                hint = did_you_mean(name, space) if space else "; it has none"
                raise InvalidHyperparameter(f"method {self.name!r} has no hyperparameter {name!r}{hint}")
        return {name: space[name].check(f"{self.name}.{name}", value) for name, value in values.items()}

    def create(self, values: Mapping[str, Value]) -> Method:
        """Return the method with the given hyperparameters, defaults elsewhere."""
        instance: Method = self.cls(**self.complete(values))
        return instance


METHODS: Catalog[MethodSpec] = Catalog("method")
"""What is declared, by name."""


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(log_uniform, uniform, integer, choice, fixed, variants)
)
def family(cls: type[Any]) -> type[Any]:
    """Declare the hyperparameters that several methods share; each inherits from the class, and may add its own."""
    frozen, _ = _frozen(cls)
    return frozen


def _frozen(cls: type[Any]) -> tuple[type[Any], Mapping[str, Range]]:
    """Return a frozen dataclass with the defaults of all ranges, inherited ones included, and those ranges."""
    own = {key: value for key, value in vars(cls).items() if isinstance(value, Range)}
    inherited = getattr(cls, _RANGES, {})
    for key, value in own.items():
        setattr(cls, key, value.default)
    setattr(cls, _RANGES, {**inherited, **own})
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls), getattr(cls, _RANGES)


_RANGES = "__ranges__"


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(log_uniform, uniform, integer, choice, fixed, variants)
)
def method(
    *,
    reads: Collection[Part],
    source: str,
    scenarios: Collection[str] = ANY,
    version: int = 1,
    name: str | None = None,
    reference: bool = False,
) -> Callable[[type[Any]], type[Any]]:
    """Declare a class as an unlearning method; its annotated ranges become its hyperparameters.

    `reads` are the parts it may see (never test), `scenarios` the names it supports, `version` is raised
    whenever its results change, `source` is the citation. The name is the class name in snake case unless
    given. A `reference` (retrain, original) is shown beside the ranking, not in it.
    """
    if TEST in reads:
        raise TypeError("no method may read the test part")

    def declare(cls: type[Any]) -> type[Any]:
        spec = specified(
            cls, reads=reads, source=source, scenarios=scenarios, version=version, name=name, reference=reference
        )
        METHODS.declare(spec)
        return spec.cls

    return declare


def specified(
    cls: type[Any],
    *,
    reads: Collection[Part],
    source: str,
    scenarios: Collection[str],
    version: int,
    name: str | None = None,
    reference: bool = False,
) -> MethodSpec:
    """Return the spec of a class whose annotated ranges become its hyperparameters; for its arguments see `method`."""
    frozen, space = _frozen(cls)
    return MethodSpec(
        name=name or snake_case(cls.__name__),
        cls=frozen,
        reads=frozenset(reads),
        scenarios=frozenset(scenarios),
        version=version,
        source=source,
        space=space,
        reference=reference,
    )
