"""Which shadows of a farm one worker trains at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import islice

from harness.unit import Kind, Unit


class Stacks:
    """Up to `most` shadows of one data set, architecture, recipe and farm go together.

    Those that were begun before go by themselves, as `begun` says: one of them may be what ended the others.
    """

    def __init__(self, most: int, begun: Callable[[str], bool]) -> None:
        self._most, self._begun = most, begun
        self._apart: set[Hashable] = set()

    def join(self, first: Unit, others: Iterable[Unit], most: int | None = None) -> list[Unit]:
        """Return a unit that is to begin, and those of the others that a worker trains at the same time.

        `most`, where it is given, bounds how many these are in all further.
        """
        if self._most == 1 or not self._joins(first):
            return [first]
        found = (one for one in others if one.id != first.id and self._joins(one) and _sort(one) == _sort(first))
        return [first, *islice(found, min(self._most, most or self._most) - 1)]

    def divide(self, unit: Unit) -> None:
        """From now on shadows of this sort go by themselves."""
        self._apart.add(_sort(unit))

    def _joins(self, unit: Unit) -> bool:
        return unit.kind == Kind.SHADOW and not self._begun(unit.id) and _sort(unit) not in self._apart


def _sort(unit: Unit) -> Hashable:
    return unit.dataset, unit.architecture, unit.recipe, unit.farm
