"""From commits to parts: a few large files instead of one small one per unit.

The order makes an interruption at any moment harmless: parts first, `units` last, then the commits go. What
is in a part and still in a commit is read once (`scan` drops repeated keys); a fold that is repeated with
the same commits writes the same parts again. `harness.store.batches` says what `units` notes of the others.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import pyarrow as pa

from harness.store import commits, parts
from harness.store.commits import FINISHED, Commit
from harness.store.files import Files
from harness.store.schemas import SCHEMAS

BATCH, BATCH_BYTES = 1000, 128 * 2**20  # commits held in memory at once: those of a farm are large

Item = TypeVar("Item")
Key = tuple[str, str]  # a table and a folder of it
Groups = Mapping[Key, Mapping[str, pa.Table]]

UNITS: Key = ("units", "")


def fold(files: Files, units: Collection[str] | None = None) -> int:
    """Move the commits of `units` (default: all) into parts; return how many there were."""
    wanted = None if units is None else frozenset(units)
    pending = [commit for commit in commits.find(files) if wanted is None or commit.unit in wanted]
    batches = divided(pending, lambda commit: commit.size, BATCH_BYTES, BATCH)
    return sum(_fold_batch(files, batch) for batch in batches)


def divided(
    items: Iterable[Item], size: Callable[[Item], int], most_bytes: int, most: int = sys.maxsize
) -> Iterator[list[Item]]:
    """Yield items that follow one another and are neither too many nor too large together; one alone may be larger."""
    group: list[Item] = []
    total = 0
    for item in items:
        if group and (len(group) == most or total + size(item) > most_bytes):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _fold_batch(files: Files, pending: Sequence[Commit]) -> int:
    contents = files.map(lambda commit: commits.read(files, commit), pending)
    read = {commit: rows for commit, rows in zip(pending, contents, strict=True) if rows is not None}
    write(files, _group(read))
    files.map(lambda commit: files.delete(commit.path), list(read))
    return len(read)


def write(files: Files, groups: Groups, kept: Mapping[str, Sequence[str]] = MappingProxyType({})) -> set[str]:
    """Write rows as one batch: by (table, folder), and there by the origin that they came from; return the paths.

    `kept` are parts that are there already and belong to this batch, with the origins of their rows.
    """
    paths = {key: parts.path_of(*key, groups[key]) for key in groups}
    units = paths.get(UNITS)
    files.map(lambda key: files.write(paths[key], _encode(groups, key, owner=units)), [*(paths.keys() - {UNITS})])
    if units is not None:
        rows = {name: row for row, name in enumerate(groups[UNITS])}
        told = {**{paths[key]: list(names) for key, names in groups.items() if key != UNITS}, **kept}
        beside = {path: [rows[name] for name in names if name in rows] for path, names in told.items()}
        files.write(units, _encode(groups, UNITS, beside=beside))
    return set(paths.values())


def origin(commit: Commit, attempts: Sequence[int]) -> str:
    """Return the name of what a commit holds, after which parts are named.

    With the attempt: a unit that finished twice is told by two parts, of which the newer is read.
    """
    return f"{commit.name} {list(attempts)}"


def origins(units: pa.Table) -> list[str]:
    """Return the origin of each row of a `units` part."""
    columns = (units[name].to_pylist() for name in ("unit", "status", "attempt"))
    return [
        origin(Commit(unit, None if status in FINISHED else attempt), [attempt])
        for unit, status, attempt in zip(*columns, strict=True)
    ]


def _group(read: Mapping[Commit, Mapping[str, pa.Table]]) -> Groups:
    """Return the rows by (table, folder), and there by the commit and attempt that they came from."""
    groups: dict[Key, dict[str, pa.Table]] = defaultdict(dict)
    for commit, tables in read.items():
        name = origin(commit, tables["units"]["attempt"].to_pylist() if "units" in tables else [])
        for table, rows in tables.items():
            for folder, some in parts.split(table, rows):
                groups[table, folder][name] = some
    return groups


def _encode(groups: Groups, key: Key, owner: str | None = None, beside: parts.Beside | None = None) -> bytes:
    rows = pa.concat_tables(groups[key].values())
    return parts.encode(SCHEMAS[key[0]], rows, owner=owner, beside=beside)
