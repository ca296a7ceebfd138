"""What one fold wrote belongs together: it counts as a whole, and what is gone of it is noticed.

A fold writes the `units` part last, and notes in it the parts beside it and which of its rows they tell more about.
So a part that a fold is still writing, or never came to the end of, counts for nobody; and a unit whose rows in
another table are gone is not finished, whatever `units` says. Parts of older versions keep no such account: they
count as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.store.errors import REMEDY, StoreCorrupt
from harness.store.files import Files
from harness.store.parts import FOLDER, Part, Parts


@dataclass(frozen=True)
class Batch:
    """A `units` part, and those of the parts beside it that are gone."""

    units: Part
    gone: tuple[str, ...] = ()

    @property
    def beside(self) -> Mapping[str, Sequence[int]]:
        """The rows of `units` that other parts tell more about, by the path of the part."""
        return self.units.beside or {}

    def torn(self) -> set[int]:
        """Return the rows of `units` whose units are told of in a part that is gone."""
        return {row for path in self.gone for row in self.beside[path]}


@dataclass(frozen=True)
class Standing:
    """The batches of a root in one order for all tables, and what is wrong with `units` parts that are damaged."""

    batches: Sequence[Batch]
    damaged: Sequence[StoreCorrupt] = field(default=())

    @cached_property
    def owners(self) -> Mapping[str, int]:
        """The place of the last batch that names a part, by the path of the part."""
        return {path: place for place, batch in enumerate(self.batches) for path in batch.beside}

    def counted(self, parts: Sequence[Part]) -> list[Part]:
        """Return those of the parts of a table that count.

        They come in the order of their batches: of two rows with one key and attempt the same batch wins in each table.
        """
        return sorted(
            (part for part in parts if not self.is_stray(part)), key=lambda part: self.owners.get(part.file.path, -1)
        )

    def is_stray(self, part: Part) -> bool:
        """Say whether a part was to belong to a batch, and none names it."""
        return part.owner is not None and part.file.path not in self.owners

    def holes(self, files: Files) -> list[StoreCorrupt]:
        """Return an error for each part that is gone."""
        gone = dict.fromkeys(path for batch in self.batches for path in batch.gone)
        return [StoreCorrupt(f"{files.where(path)} is missing; {REMEDY}") for path in gone]


def standing(files: Files, parts: Parts, table: str = "", without: Collection[str] = ()) -> Standing:
    """Return what is there: `gone` are parts of `table`, or of all tables. Of `units` parts alone the content is read.

    `without` are paths that count as gone. Of two batches the one that keeps an account comes later, so that it wins
    over what an older version wrote.
    """
    while True:
        found = parts.read("units").values()
        batches = sorted(
            (Batch(part) for part in found if isinstance(part, Part)),
            key=lambda batch: (batch.units.beside is not None, batch.units.file.path),
        )
        # After the `units` parts, which a fold writes last: what they name was there when they were.
        present = {file.path for file in parts.find(table)}.difference(without)
        whole = [Batch(batch.units, _gone(batch, table, present)) for batch in batches]
        # A repair takes a batch away before the parts of it; what it did meanwhile is no hole.
        if all(files.exists(batch.units.file.path) for batch in whole if batch.gone):
            return Standing(whole, [error for error in found if isinstance(error, StoreCorrupt)])


def _gone(batch: Batch, table: str, present: Collection[str]) -> tuple[str, ...]:
    folder = f"{FOLDER}/{table}/" if table else ""
    return tuple(path for path in batch.beside if path.startswith(folder) and path not in present)
