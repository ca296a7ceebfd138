"""The contract of an artifact: something costly that is made of the data once, and shared (a GAN, checkpoints)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, cast, dataclass_transform

from harness.contracts.catalog import Catalog
from harness.contracts.method import ANY, MethodSpec, specified
from harness.contracts.parts import FORGET, TEST, Part
from harness.contracts.run import Lent
from harness.contracts.space import Value, fixed

Of = Literal["request", "training"]


@dataclass(frozen=True)
class ArtifactSpec(MethodSpec):
    """A declared artifact: what a method's spec says, and whether it is made `of` a request or of the training.

    Of a request: once for each forget set, judged by the original (`Artifact`). Of the training: before any request, of
    all training images, once for each data set, architecture and seed (`TrainingArtifact`).
    """

    of: Of = "request"


ARTIFACTS: Catalog[ArtifactSpec] = Catalog("artifact")
"""What is declared, by name."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(fixed,))
def artifact(
    *, reads: Collection[Part], source: str, version: int = 1, of: Of = "request"
) -> Callable[[type[Any]], type[Any]]:
    """Declare a class as an artifact; its hyperparameters are `fixed`, `of` is as in `ArtifactSpec`.

    The other arguments are those of `method`. To an artifact of the training, retain is all training data. Raise the
    version of the methods that ask for it together with its own: a run that makes it for itself (a timed one, one of a
    search or of the farm) has only the method's in its id.
    """
    if TEST in reads:
        raise TypeError("no artifact may read the test part")
    if of == "training" and FORGET in reads:
        raise TypeError("no artifact of the training may read the forget part: nobody has asked to forget anything yet")

    def declare(cls: type[Any]) -> type[Any]:
        spec = specified(cls, reads=reads, source=source, scenarios=ANY, version=version)
        declared = ArtifactSpec(**{field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}, of=of)
        ARTIFACTS.declare(declared)
        return declared.cls

    return declare


def artifacts_of(method: object) -> tuple[Lent, ...]:
    """Return what a method may ask for, in its order; nothing for most."""
    return tuple(method.artifacts()) if hasattr(method, "artifacts") else ()


def named(one: Lent) -> tuple[ArtifactSpec, dict[str, Value]]:
    """Return the spec of an artifact and its hyperparameters."""
    spec = next(spec for spec in map(ARTIFACTS.__getitem__, ARTIFACTS) if type(one) is spec.cls)
    return spec, dataclasses.asdict(cast("Any", one))
