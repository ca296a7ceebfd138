"""Parts of versions that kept no account of what belongs together get one."""

from __future__ import annotations

from collections import defaultdict

from harness.store.batches import standing
from harness.store.errors import StoreCorrupt
from harness.store.files import Files
from harness.store.parts import FOLDER, Parts, Told, encode, folders_of
from harness.store.schemas import SCHEMAS, is_about_units

BESIDE_UNITS = tuple(table for table in SCHEMAS if is_about_units(table) and table != "units")


def adopt(files: Files, parts: Parts) -> None:
    """Note in each `units` part without an account which parts tell more about its rows.

    What a damaged part told of is unknown: it counts as having told of all that would be in its folder.
    """
    state = standing(files, parts)
    old = [batch.units for batch in state.batches if batch.units.beside is None]
    if not old:
        return
    units = [parts.load(part) for part in old]
    rows_of: dict[Told | str, list[tuple[int, int]]] = defaultdict(list)
    for place, table in enumerate(units):
        for row, told in enumerate(zip(table["unit"].to_pylist(), table["attempt"].to_pylist(), strict=True)):
            rows_of[told].append((place, row))
        for name in BESIDE_UNITS:
            for row, folder in enumerate(folders_of(name, table)):
                rows_of[f"{FOLDER}/{name}/{folder}"].append((place, row))
    accounts: list[dict[str, list[int]]] = [defaultdict(list) for _ in old]
    for path, part in parts.read().items():
        if path in state.owners or path.split("/")[1] not in BESIDE_UNITS:
            continue
        for key in [f"{path.rpartition('/')[0]}/"] if isinstance(part, StoreCorrupt) else parts.told(part):
            for place, row in rows_of[key]:
                accounts[place][path].append(row)
    for part, table, account in zip(old, units, accounts, strict=True):
        beside = {path: sorted(rows) for path, rows in account.items()}
        files.write(part.file.path, encode(SCHEMAS["units"], table, beside=beside))
