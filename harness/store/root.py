"""The store as everybody else sees it: one object for one root."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from harness.errors import cause, did_you_mean, one_line
from harness.store import commits, documents, models, temporary, views
from harness.store import compact as compacting
from harness.store import fold as folding
from harness.store import lease as leases
from harness.store import repair as repairing
from harness.store import scan as scanning
from harness.store.commits import Commit
from harness.store.errors import RootInvalid, RootNotWritable, StoreCorrupt, UnknownPlan
from harness.store.files import Files, allowed
from harness.store.lease import Lease, LeaseInfo
from harness.store.parts import Parts
from harness.store.rows import Rows
from harness.store.scan import Ended

if TYPE_CHECKING:
    from torch import Tensor

    from harness.store.shapes import Outline

FOLDERS = (commits.FOLDER, "tables", "models", documents.FOLDER, "reports", "logs")


@dataclass(frozen=True)
class Store:
    """All that is known below one root: commits, tables, models, plans and who runs them.

    Made by `Store.open`. Rows are mappings from column to value, tables those of `SCHEMAS`. Whatever is
    written is written whole or not at all; every error is a `StoreError` of one line.
    """

    uri: str = field(repr=False)
    """The root as it was given, maybe with credentials: for other processes, never to be shown."""
    _files: Files = field(repr=False, compare=False)
    _parts: Parts = field(repr=False, compare=False)

    @classmethod
    def open(cls, uri: str | None = None, *, write: bool = False) -> Store:
        """Open a root: a folder, `file://`, `s3://` or `gs://`; by default `$HARNESS_ROOT`, or `runs`.

        With `write`, its folders are created and a write is proved to work (`RootNotWritable`). Without,
        nothing is created, every write is refused, and a root that does not exist reads as an empty one.
        """
        files = Files.open(uri or os.environ.get("HARNESS_ROOT") or "runs", write=write)
        if files.local and os.path.exists(files.base) and not os.path.isdir(files.base):
            error = RootNotWritable if write else RootInvalid
            raise error(f"root {files.address} is a file; give a folder")
        if write:
            _prove_writable(files)
        return cls(files.uri, files, Parts(files))

    @property
    def address(self) -> str:
        """The root as it may be shown: without credentials and options."""
        return self._files.address

    def commit(self, unit: str, rows: Rows) -> None:
        """Store everything about a unit that finished, in one object: it is there or it is not.

        `rows` needs one row in `units` with status done or diverged, and nothing that speaks of another unit.
        Raises `InvalidRows` before anything is written.
        """
        commits.write(self._files, unit, rows)

    def commit_failure(self, unit: str, attempt: int, rows: Rows) -> None:
        """Store a failed attempt, with its row in `failures`; it never counts as committed."""
        commits.write_failure(self._files, unit, attempt, rows)

    def committed(self) -> set[str]:
        """Return the ids of the units that are done or diverged, folded or not.

        One that is folded counts if its row in `units` is intact, and every part that was written with that row and
        tells more about the unit is there; whether that part is intact is found when it is read, and by `repair`. One
        that is not yet folded counts by the name of its commit. What is damaged raises nothing here; see `ended`.
        """
        return scanning.committed(self._files, self._parts)

    def attempts(self) -> dict[str, int]:
        """Return the number of the last failed attempt (from 1) of every unit that is not committed."""
        return self.ended().attempts

    def last_attempts(self) -> dict[str, int]:
        """Return the number of the last attempt of every unit that ever ended; the next one's rows win by theirs."""
        return scanning.last_attempts(self._files, self._parts)

    def ended(self) -> Ended:
        """Return `committed`, `attempts` and what damage keeps them from knowing all, from one look at the root."""
        return scanning.ended(self._files, self._parts)

    def moments(self) -> pl.DataFrame:
        """Return when each `unit` ended, well or not (`at`, UTC); of what is damaged, nothing."""
        return scanning.moments(self._files, self._parts)

    def repair(self) -> list[str]:
        """Move every damaged commit, part and plan below `damaged/`; return in one line each what it was.

        Parts that are missing are named, too. Afterwards a unit is there with all its rows, or it is not committed.
        What writes that were killed left behind is removed. For the holder of a lease, before it runs anything.
        """
        if self._files.local:
            for path in temporary.abandoned(self._files.base, FOLDERS):
                self._files.delete(path)
        return repairing.repair(self._files, self._parts)

    def repair_models(self, units: Collection[str]) -> list[str]:
        """Move those weights of `units` that are damaged below `damaged/`; return in one line each which they were."""
        return repairing.repair_models(self._files, units)

    def fold(self, units: Collection[str] | None = None) -> int:
        """Move commits (of `units`, or all) into the tables and return how many.

        It may be interrupted at any moment and repeated; whoever reads meanwhile sees no difference.
        """
        return folding.fold(self._files, units)

    def compact(self) -> tuple[int, int]:
        """Write the many parts of a root as few, which are read faster; return how many there were and are.

        It may be interrupted at any moment and repeated. Raises `LeaseHeld` while somebody runs a plan of the root.
        """
        return compacting.compact(self._files, self._parts)

    def scan(self, table: str) -> pl.LazyFrame:
        """Return `table` with what is not yet folded; keys are unique, the newest attempt wins.

        The columns are always those of the schema, the order of the rows is not promised. A filter on
        identity columns reaches the files. Raises `UnknownTable`, or `StoreCorrupt` for a damaged file, or a missing
        one that is known of: of this table, or for `units` of any.
        """
        return scanning.scan(self._files, self._parts, table)

    def left_by(self, unit: str, tables: Collection[str]) -> dict[str, pa.Table] | None:
        """Return the rows of a unit that has just finished, by table; None if it did not, or was folded meanwhile."""
        return commits.read(self._files, Commit(unit, None), tables)

    def replace(self, table: str, rows: pl.DataFrame, where: Mapping[str, str]) -> None:
        """Make `rows` all that `table` says about `where`, in one atomic step.

        `where` is `{"study": name}` for attacks and rankings, dataset and pool for pools, and empty for
        costs and definitions, which are replaced as a whole. Raises `InvalidRows`.
        """
        views.replace(self._files, table, rows, where)

    def save_model(self, unit: str, state: Mapping[str, Tensor]) -> str:
        """Store weights and return their sha256 (over names, dtypes, shapes and bytes)."""
        return models.save(self._files, unit, state)

    def load_model(self, unit: str, device: str = "cpu") -> dict[str, Tensor]:
        """Return stored weights; raise `ModelMissing`, or `ModelCorrupt` if their digest is another one."""
        return models.load(self._files, unit, device)

    def has_model(self, unit: str) -> bool:
        """Say whether weights are stored for `unit`."""
        return self._files.exists(models.path_of(unit))

    def models(self) -> set[str]:
        """Return the units whose weights are stored: of thousands a listing is faster than as many questions."""
        return models.stored(self._files)

    def drop_model(self, unit: str) -> None:
        """Remove the weights of `unit`, if there are any."""
        self._files.delete(models.path_of(unit))

    def drop_model_unless(self, needed_by: Callable[[str], bool], unit: str) -> None:
        """Remove the weights of `unit`, if there are any, unless a plan that is run now needs them."""
        self._files.guard()
        files = replace(self._files, guard=allowed)  # who asks it in the block would wait for the block's own lock
        with leases.running(files) as plans:
            if not any(needed_by(plan) for plan in plans):
                files.delete(models.path_of(unit))

    def write_plan(self, plan_id: str, document: Mapping[str, object]) -> None:
        """Store a plan as JSON, replacing one of the same id."""
        documents.write(self._files, documents.path_of(plan_id, ".json"), document)

    def read_plan(self, plan_id: str) -> dict[str, Any]:
        """Return a stored plan; raise `UnknownPlan`."""
        return documents.read_plan(self._files, plan_id)

    def plans(self) -> list[str]:
        """Return the ids of the stored plans, sorted."""
        return documents.plans(self._files)

    def studies(self, study: str | None = None) -> list[dict[str, Any]]:
        """Return the stored plans, all or those of one study, given by its name or by a plan's id.

        Raises `UnknownPlan` for a name that none has, and `StoreCorrupt` for a plan that is damaged.
        """
        documents = [self.read_plan(plan) for plan in self.plans()]
        found = [one for one in documents if study in (None, one["study"], one["id"])]
        self._refuse_unknown(study, {str(one["study"]) for one in documents}, found)
        return found

    def outlines(self, study: str | None, damaged: Callable[[StoreCorrupt], object]) -> list[Outline]:
        """Return what units the stored plans have, all or as `studies`; of a plan that is damaged, `damaged` is told.

        Raises `UnknownPlan` for a name that none has.
        """
        every: list[Outline] = []
        for plan in self.plans():
            try:
                every.append(documents.read_outline(self._files, plan))
            except StoreCorrupt as error:
                damaged(error)
        found = [one for one in every if study in (None, one.study, one.id)]
        self._refuse_unknown(study, {one.study for one in every}, found)
        return found

    def _refuse_unknown(self, study: str | None, known: set[str], found: Sequence[object]) -> None:
        if study and not found:
            raise UnknownPlan(f"no study {study!r} in {self.address}{did_you_mean(study, known)}")

    def lease(self, plan_id: str) -> AbstractContextManager[Lease]:
        """Hold the right to run a plan inside a `with` block; raise `LeaseHeld` if a living driver has it.

        A driver is taken for dead when its process on this host is gone, or when it is on another host and
        was silent for 60 s; inside the block a thread keeps it from silence.
        """
        return leases.lease(self._files, plan_id)

    def guarded(self, lease: Lease) -> Store:
        """Return the same root for the holder of a lease: once another took over, a write is a `LeaseLost`."""
        files = replace(self._files, guard=lease.beat)
        return Store(self.uri, files, Parts(files))

    def lease_holder(self, plan_id: str) -> LeaseInfo | None:
        """Return who runs a plan now, or None; raise `StoreCorrupt` where its lease is damaged."""
        return leases.holder(self._files, plan_id)

    def lease_fallen(self, plan_id: str) -> LeaseInfo | None:
        """Return who ran a plan last, if it was killed; raise `StoreCorrupt` where its lease is damaged."""
        return leases.fallen(self._files, plan_id)

    def log_path(self, name: str) -> str | None:
        """Return where the chatter of a program goes: `<root>/logs/<name>.log`; None where the root is not local."""
        return self._files.inside(f"logs/{name}.log") if self._files.local else None

    def report_path(self, study: str) -> str:
        """Return where the page of a study goes: `<root>/reports/<study>/index.html`."""
        return self._files.where(_page(study))

    def write_report(self, study: str, page: bytes) -> str:
        """Store the page of a study and return where it is."""
        self._files.write(_page(study), page)
        return self.report_path(study)

    def read_report(self, study: str) -> bytes | None:
        """Return the page of a study, or None if none was written."""
        try:
            return self._files.read(_page(study))
        except FileNotFoundError:
            return None


def _page(study: str) -> str:
    return f"reports/{study}/index.html"


def _prove_writable(files: Files) -> None:
    probe = f"{commits.FOLDER}/{temporary.name()}"
    try:
        for folder in FOLDERS:
            files.make_folder(folder)
        files.write(probe, b"")
        files.delete(probe)
    except (OSError, RootNotWritable) as error:
        reason = error.__cause__ or error
        why = cause(reason) if isinstance(reason, OSError) else one_line(reason)
        raise RootNotWritable(f"root {files.address} cannot be written: {why}") from error
