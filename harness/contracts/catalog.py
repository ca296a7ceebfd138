"""Where decorated things are kept under their names; `harness.registry` fills and reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from harness.errors import HarnessError


class DeclaredTwice(HarnessError):
    """Two different files declare the same name."""


class InvalidName(HarnessError):
    """A name that cannot be written in a study, a table, the name of a file and on a terminal alike."""


class Declared(Protocol):
    """A spec: it knows its name and the module that declares it."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...


T = TypeVar("T", bound=Declared)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")


class Catalog(Generic[T]):
    """The declared things of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, T] = {}

    def declare(self, spec: T) -> None:
        """Add a spec; the same module may declare it again (a reload), another module may not."""
        if not _NAME.fullmatch(spec.name):
            raise InvalidName(f"{self.kind} {spec.name!r} of {spec.module}: letters, digits and _ . - make a name")
        known = self._specs.get(spec.name)
        if known is not None and known.module != spec.module:
            raise DeclaredTwice(
                f"{self.kind} {spec.name!r} is declared in {known.module} and in {spec.module}; rename one"
            )
        self._specs[spec.name] = spec

    def __getitem__(self, name: str) -> T:
        return self._specs[name]

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._specs))

    def __len__(self) -> int:
        return len(self._specs)


def snake_case(name: str) -> str:
    """Return `NegGradPlus` as `neg_grad_plus` and `MSG` as `msg`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def first_line(text: str | None) -> str:
    """Return the first line of a docstring: the one-sentence description shown by `harness ls`."""
    return (text or "").strip().partition("\n")[0]
