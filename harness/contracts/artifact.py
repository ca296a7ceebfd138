"""The contract of an artifact: something costly that methods learn from the data once, and share (a GAN)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, cast, dataclass_transform

from harness.contracts.catalog import Catalog
from harness.contracts.method import ANY, MethodSpec, specified
from harness.contracts.parts import TEST, Part
from harness.contracts.run import Artifact
from harness.contracts.space import Value, fixed

ARTIFACTS: Catalog[MethodSpec] = Catalog("artifact")
"""What is declared, by name: an artifact's spec is that of a method."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(fixed,))
def artifact(*, reads: Collection[Part], source: str, version: int = 1) -> Callable[[type[Any]], type[Any]]:
    """Declare a class as an artifact; its hyperparameters are `fixed`, the other arguments those of `method`."""
    if TEST in reads:
        raise TypeError("no artifact may read the test part")

    def declare(cls: type[Any]) -> type[Any]:
        spec = specified(cls, reads=reads, source=source, scenarios=ANY, version=version)
        ARTIFACTS.declare(spec)
        return spec.cls

    return declare


def artifacts_of(method: object) -> tuple[Artifact, ...]:
    """Return what a method may ask for, in its order; nothing for most."""
    return tuple(method.artifacts()) if hasattr(method, "artifacts") else ()


def named(one: Artifact) -> tuple[MethodSpec, dict[str, Value]]:
    """Return the spec of an artifact and its hyperparameters."""
    spec = next(spec for spec in map(ARTIFACTS.__getitem__, ARTIFACTS) if type(one) is spec.cls)
    return spec, dataclasses.asdict(cast("Any", one))
