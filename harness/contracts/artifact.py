"""The contract of an artifact: something costly that methods learn from the data once, and share (a GAN)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, Protocol, cast, dataclass_transform

from torch import nn

from harness.contracts.catalog import Catalog
from harness.contracts.method import ANY, MethodSpec, specified
from harness.contracts.parts import TEST, Part
from harness.contracts.run import Run
from harness.contracts.space import Value, fixed
from harness.contracts.view import ImageFormat, View


class Artifact(Protocol):
    """An instance carries one set of hyperparameters; equal ones are one artifact, made once for each forget set.

    A method names those that it may ask for in `artifacts()`, a sequence of instances, and gets them from
    `Run.artifact`. A study makes each as a unit of its own, before the trials of all seeds, methods and settings that
    name it. Where there is none to share (a shadow model of an audit, a timed run), it is made when it is asked for.
    """

    def network(self, images: ImageFormat) -> nn.Module:
        """Return the untrained network for a data set; its weights are all that is kept of an artifact."""

    def make(self, network: nn.Module, original: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the trained network; `original` is there to judge by, and must be neither changed nor learned from."""


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
