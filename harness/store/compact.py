"""Many small batches become a few large ones: what reads a root opens, and looks through, every part of it.

A fold writes a batch every few hundred units, in a folder for each method. The order makes an interruption at any
moment harmless: the new batch, its `units` part last; then the old `units` parts go, and then what was beside them.
Whoever reads meanwhile may find a part gone that it was about to open, so nobody compacts while a driver runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from harness.store import fold, parts
from harness.store.batches import Batch, standing
from harness.store.claim import alone
from harness.store.errors import LeaseHeld
from harness.store.files import File, Files
from harness.store.lease import running
from harness.store.parts import Parts
from harness.store.schemas import is_about_units

MOST_BYTES = 64 * 2**20
"""Of the parts of a new batch, compressed; their rows are in memory at once."""


def compact(files: Files, found: Parts) -> tuple[int, int]:
    """Write small batches as large ones; return how many parts there were and are.

    Raises `LeaseHeld` while somebody runs a plan of the root, and `StoreCorrupt` where a part is damaged or gone.
    """
    with running(files) as plans, files.locked(parts.FOLDER), alone(files, parts.FOLDER):
        for plan in plans:
            raise LeaseHeld(f"plan {plan} is being run; compact the root once it has ended")
        state = standing(files, found)
        for error in (*state.damaged, *state.holes(files)):
            raise error
        before = {file.path: file for file in found.find()}
        named = Counter(path for batch in state.batches for path in batch.beside)
        told = [
            _Told(batch, fold.origins(found.load(batch.units)))
            for batch in state.batches
            if batch.units.beside is not None
        ]
        needed = _without_repeated(files, told, named)
        for some in fold.divided(needed, lambda one: sum(before[path].size for path in one.paths), MOST_BYTES):
            _merge(files, found, some, before, named)
        return len(before), len(found.find())


@dataclass(frozen=True)
class _Told:
    """A batch, and the origin of each row of its `units`."""

    batch: Batch
    names: Sequence[str]

    @property
    def paths(self) -> tuple[str, ...]:
        """Its parts, in the order in which they go."""
        return (self.batch.units.file.path, *self.batch.beside)


def _without_repeated(files: Files, told: Sequence[_Told], named: Counter[str]) -> list[_Told]:
    """Return the batches that tell of more than others do; the rest goes: a fold or a compaction was interrupted."""
    known = set[str]()
    needed = []
    for one in sorted(told, key=lambda one: -len(one.names)):
        if known.issuperset(one.names):
            _drop(files, [one], named, spared=())
        else:
            known.update(one.names)
            needed.append(one)
    return [one for one in told if one in needed]


def _merge(files: Files, found: Parts, told: Sequence[_Told], present: Mapping[str, File], named: Counter[str]) -> None:
    """Write some batches as one, in their order, and take them away."""
    if len(told) < 2 or len(set().union(*(one.names for one in told))) < sum(len(one.names) for one in told):
        return  # of two that tell of one attempt, each table reads the later batch
    groups: dict[fold.Key, dict[str, pa.Table]] = defaultdict(dict)
    kept: dict[str, list[str]] = defaultdict(list)
    for one in told:
        units = found.load(one.batch.units)
        groups[fold.UNITS] |= {name: units.slice(at, 1) for at, name in enumerate(one.names)}
        for path, rows in one.batch.beside.items():
            part, names = found.check(present[path]), [one.names[row] for row in rows]
            if is_about_units(part.table):
                content = found.load(part)
                # All that the part holds stands under the first of its names.
                blocks = {name: content.slice(0, 0 if at else None) for at, name in enumerate(names)}
                groups[part.table, _folder(path)] |= blocks
            else:
                kept[path] += names
    written = fold.write(files, groups, kept)
    _drop(files, told, named, spared={*written, *kept})


def _drop(files: Files, told: Sequence[_Told], named: Counter[str], spared: Collection[str]) -> None:
    """Delete the parts of batches that nobody else names, the `units` parts first."""
    paths = Counter(path for one in told for path in one.batch.beside)
    named.subtract(paths)
    gone = [one.batch.units.file.path for one in told] + [path for path in paths if named[path] <= 0]
    for path in gone:
        if path not in spared:
            files.delete(path)


def _folder(path: str) -> str:
    """Return the folder of a part in its table, as `harness.store.parts.path_of` takes it."""
    return "".join(f"{segment}/" for segment in path.split("/")[2:-1])
