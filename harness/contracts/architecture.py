"""The contract of an architecture: a builder, and the names of its stem, blocks and head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.contracts.catalog import Catalog, first_line

if TYPE_CHECKING:
    from torch import nn

Builder: TypeAlias = "Callable[[int, int, int], nn.Module]"


@dataclass(frozen=True)
class ArchitectureSpec:
    """A declared architecture: modules are named as in `Module.get_submodule`, from input to output."""

    name: str
    build: Builder
    stem: tuple[str, ...]
    blocks: tuple[str, ...]
    head: str
    version: int
    source: str

    @property
    def module(self) -> str:
        """The module that declares it."""
        return self.build.__module__

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return first_line(self.build.__doc__)


ARCHITECTURES: Catalog[ArchitectureSpec] = Catalog("architecture")
"""What is declared, by name."""


def architecture(
    *, stem: tuple[str, ...], blocks: tuple[str, ...], head: str, source: str, version: int = 1
) -> Callable[[Builder], Builder]:
    """Declare `build(channels, size, classes) -> Module` as an architecture, under the function's name.

    Methods find the first layers, the blocks and the classifier through these names, never by searching.
    """

    def declare(build: Builder) -> Builder:
        ARCHITECTURES.declare(ArchitectureSpec(build.__name__, build, stem, blocks, head, version, source))
        return build

    return declare
