"""A batch of which a part is lost is written again, without the units that the part told of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa

from harness.store import fold
from harness.store.batches import Batch
from harness.store.errors import REMEDY, StoreCorrupt
from harness.store.files import File, Files
from harness.store.parts import Parts, split
from harness.store.schemas import is_about_units


def tear_out(files: Files, parts: Parts, batch: Batch, present: Mapping[str, File]) -> list[str]:
    """Write what is whole of a batch as a new one; return what is to be taken away now, the `units` part first.

    Parts of which nothing goes belong to the new batch as they are. `present` are all parts by path.
    """
    units, torn = parts.load(batch.units), batch.torn()
    names = fold.origins(units)
    groups: dict[fold.Key, dict[str, pa.Table]] = defaultdict(dict)
    groups[fold.UNITS] = {name: units.slice(row, 1) for row, name in enumerate(names) if row not in torn}
    kept: dict[str, list[str]] = {}
    there = [path for path in batch.beside if path not in batch.gone]
    for path in there:
        if path not in present:  # somebody has just taken it
            raise StoreCorrupt(f"{files.where(path)} is missing; {REMEDY}")
    for part in (parts.check(present[path]) for path in there):
        rows = batch.beside[part.file.path]
        whole = [row for row in rows if row not in torn]
        if len(whole) == len(rows) or not is_about_units(part.table):
            kept[part.file.path] = [names[row] for row in whole]
            continue
        content = parts.load(part)
        for row in whole:
            for folder, some in split(part.table, _about(content, units, row)):
                groups[part.table, folder][names[row]] = some
    written = fold.write(files, {key: some for key, some in groups.items() if some}, kept)
    return [path for path in (batch.units.file.path, *there) if path not in written and path not in kept]


def _about(content: pa.Table, units: pa.Table, row: int) -> pa.Table:
    """Return what a part tells of the unit and attempt in a row of `units`."""
    import pyarrow.compute as pc  # takes longer than the rest of pyarrow, and few roots are ever damaged

    same = (pc.equal(content[name], units[name][row]) for name in ("unit", "attempt"))
    return content.filter(pc.and_(*same))
