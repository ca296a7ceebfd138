"""Damaged files go aside, what only they told is no longer taken for finished, and all the rest stays.

Done by a driver before it runs anything. Others may run other plans of the same root meanwhile: they read and fold as
ever, and only one repairs at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.store import commits, documents, models, parts
from harness.store.adopt import adopt
from harness.store.batches import Batch, Standing, standing
from harness.store.claim import alone
from harness.store.commits import Commit
from harness.store.errors import REMEDY, ModelMissing, SchemaMismatch, StoreCorrupt
from harness.store.files import Files
from harness.store.parts import Part, Parts
from harness.store.schemas import is_about_units
from harness.store.tear import tear_out

FOLDER = "damaged"
MODELS_AT_ONCE = 4  # they may be large


@dataclass(frozen=True)
class Damage:
    """What is wrong with a root: what is damaged, by path; the batches; and parts of batches that belong to none."""

    errors: Mapping[str, StoreCorrupt]
    state: Standing
    leftover: Mapping[Part, frozenset[str]]
    """With the units that they tell of."""

    @property
    def torn(self) -> list[Batch]:
        """The batches of which a part is damaged or gone."""
        return [batch for batch in self.state.batches if batch.gone]

    @property
    def old(self) -> bool:
        """Whether there are batches without an account."""
        return any(batch.units.beside is None for batch in self.state.batches)


def repair(files: Files, found: Parts) -> list[str]:
    """Move what is damaged below `damaged/`; return in one line each what that was, and what is missing.

    Afterwards every reader reads: a unit is there with all its rows, or it is not finished. To be called by the
    holder of a lease.
    """
    damage = _look(files, found)
    if not (damage.errors or damage.torn or damage.leftover or damage.old):
        return []
    with files.locked(parts.FOLDER), alone(files, parts.FOLDER):
        adopt(files, found)
        damage = _look(files, found)
        told = [_aside(files, path, str(error)) for path, error in damage.errors.items()]
        told += _missing(files, found, damage)
        present = {file.path: file for file in found.find()}
        named = Counter(path for batch in damage.state.batches for path in batch.beside)
        for batch in damage.torn:
            for path in tear_out(files, found, batch, present):
                if named[path] <= 1:
                    set_aside(files, path)
        for part in damage.leftover:
            set_aside(files, part.file.path)
    return told


def repair_models(files: Files, units: Collection[str]) -> list[str]:
    """Move those of the stored weights of `units` that are damaged below `damaged/`; say in one line each which."""

    def wrong_with(unit: str) -> StoreCorrupt | None:
        try:
            models.load(files, unit, "cpu")
        except ModelMissing:
            return None
        except StoreCorrupt as error:
            return error
        return None

    with ThreadPoolExecutor(MODELS_AT_ONCE) as pool:
        found = list(zip(units, pool.map(wrong_with, units), strict=True))
    return [_aside(files, models.path_of(unit), str(error)) for unit, error in found if error is not None]


def set_aside(files: Files, path: str) -> None:
    """Move a file below `damaged/`, unless it is gone already."""
    to, number = f"{FOLDER}/{path}", 1
    while files.exists(to):
        number += 1
        to = f"{FOLDER}/{path}.{number}"
    files.move(path, to)


def _look(files: Files, found: Parts) -> Damage:
    # In this order: a fold that runs now has written a part before its commits go, and `units` before that.
    everything = found.read()
    pending = commits.find(files)
    errors = {path: one for path, one in everything.items() if isinstance(one, StoreCorrupt)}
    state = standing(files, found, without=errors)
    waiting = {commit.unit for commit in pending}
    about_units = [part for part in everything.values() if isinstance(part, Part) and is_about_units(part.table)]
    stray = [part for part in about_units if state.is_stray(part)]
    leftover = {part: units for part in stray if waiting.isdisjoint(units := _units_of(part, found))}
    errors |= {commit.path: error for commit in pending if (error := _wrong_with(files, commit)) is not None}
    return Damage(errors | documents.damaged(files), state, leftover)


def _units_of(part: Part, found: Parts) -> frozenset[str]:
    return frozenset(unit for unit, _ in found.told(part))


def _wrong_with(files: Files, commit: Commit) -> StoreCorrupt | None:
    try:
        commits.read(files, commit)
    except StoreCorrupt as error:
        return error
    except SchemaMismatch:  # a newer version's: whole, and not ours to judge
        return None
    return None


def _aside(files: Files, path: str, wrong: str) -> str:
    set_aside(files, path)
    return f"{wrong.removesuffix(f'; {REMEDY}')}; it is in {files.where(FOLDER)} now"


def _missing(files: Files, found: Parts, damage: Damage) -> list[str]:
    """Return a line for each part that is gone: a `units` part is known by what was written with it."""
    gone = [path for batch in damage.torn for path in batch.gone]
    # What a fold left that was interrupted and repeated with more is told elsewhere by now.
    known = frozenset[str]().union(*(_units_of(batch.units, found) for batch in damage.state.batches))
    gone += [part.owner for part, units in damage.leftover.items() if part.owner and not units <= known]
    return [f"{files.where(path)} is missing" for path in dict.fromkeys(gone) if path not in damage.errors]
