"""Tables that are computed from other tables, rewritten piece by piece, each piece in one atomic step."""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from harness.store import parts
from harness.store.errors import InvalidRows
from harness.store.files import Files
from harness.store.rows import to_table
from harness.store.schemas import VIEWS, schema_of


def replace(files: Files, table: str, rows: pl.DataFrame, where: Mapping[str, str]) -> None:
    """Make `rows` all that `table` says about `where`; see `Store.replace`."""
    schema = schema_of(table)
    if table not in VIEWS:
        raise InvalidRows(f"table {table} is filled by commits; only {', '.join(VIEWS)} can be replaced")
    if set(where) != set(VIEWS[table]):
        right = ", ".join(VIEWS[table]) or "nothing"
        raise InvalidRows(f"table {table} is replaced by {right}, not by {', '.join(where) or 'nothing'}")
    piece = to_table(table, rows.to_dicts())
    for name, value in where.items():
        if set(piece[name].to_pylist()) - {value}:
            raise InvalidRows(f"table {table}: rows with {name} other than {value!r} are not of that piece")
    name = json.dumps(dict(where), sort_keys=True)
    files.write(parts.path_of(table, "", [name]), parts.encode(schema, piece))
