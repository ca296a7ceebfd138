"""From commits to parts: a few large files instead of one small one per unit.

The order makes an interruption at any moment harmless: parts first, `units` last, then the commits go. What
is in a part and still in a commit is read once (`scan` drops repeated keys); a fold that is repeated with
the same commits writes the same parts again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from harness.store import commits, parts
from harness.store.commits import Commit
from harness.store.files import Files
from harness.store.schemas import SCHEMAS

BATCH = 500  # commits held in memory at once

Groups = Mapping[tuple[str, str], Mapping[str, pa.Table]]


def fold(files: Files, units: Collection[str] | None = None) -> int:
    """Move the commits of `units` (default: all) into parts; return how many there were."""
    wanted = None if units is None else frozenset(units)
    pending = [commit for commit in commits.find(files) if wanted is None or commit.unit in wanted]
    batches = [pending[start : start + BATCH] for start in range(0, len(pending), BATCH)]
    return sum(_fold_batch(files, batch) for batch in batches)


def _fold_batch(files: Files, pending: Sequence[Commit]) -> int:
    contents = files.map(lambda commit: commits.read(files, commit), pending)
    read = {commit: rows for commit, rows in zip(pending, contents, strict=True) if rows is not None}
    groups = _group(read)
    files.map(lambda key: _write_part(files, groups, key), [key for key in groups if key[0] != "units"])
    files.map(lambda key: _write_part(files, groups, key), [key for key in groups if key[0] == "units"])
    files.map(lambda commit: files.delete(commit.path), list(read))
    return len(read)


def _group(read: Mapping[Commit, Mapping[str, pa.Table]]) -> Groups:
    """Return the rows by (table, folder), and there by the commit and attempt that they came from."""
    groups: dict[tuple[str, str], dict[str, pa.Table]] = defaultdict(dict)
    for commit, tables in read.items():
        # With the attempt: a unit that finished twice is told by two parts, of which the newer is read.
        attempts = tables["units"]["attempt"].to_pylist() if "units" in tables else []
        origin = f"{commit.name} {attempts}"
        for table, rows in tables.items():
            for folder, some in parts.split(table, rows):
                groups[table, folder][origin] = some
    return groups


def _write_part(files: Files, groups: Groups, key: tuple[str, str]) -> None:
    table, folder = key
    rows = pa.concat_tables(groups[key].values())
    files.write(parts.path_of(table, folder, groups[key]), parts.encode(SCHEMAS[table], rows))
