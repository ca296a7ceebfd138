"""From rows to Arrow tables of the declared schema, refusing everything that would be lost silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import pyarrow as pa

from harness.errors import did_you_mean, one_line
from harness.store.errors import InvalidRows
from harness.store.schemas import KEYS, schema_of

Row = Mapping[str, object]
Rows = Mapping[str, Sequence[Row]]


def to_table(table: str, rows: Sequence[Row]) -> pa.Table:
    """Return `rows` as an Arrow table of the schema of `table`; a column that a row does not name is null.

    Raises `InvalidRows` for a column that the table does not have, a value of the wrong type (nothing is
    rounded or parsed), a null in the key, and two rows with one key.
    """
    schema = schema_of(table)
    for name in {name for row in rows for name in row}:
        if name not in schema.names:
            raise InvalidRows(f"table {table} has no column {name!r}{did_you_mean(name, schema.names)}")
    columns = [_column(table, field, [row.get(field.name) for row in rows]) for field in schema]
    _check_key(table, rows)
    return pa.Table.from_arrays(columns, schema=schema)


def _column(table: str, field: pa.Field, values: list[object]) -> pa.Array:
    try:
        if pa.types.is_integer(field.type):
            _check_integers(values)
        return pa.array(values, type=field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidRows(f"{table}.{field.name} takes {field.type}: {one_line(error)}") from error


def _check_integers(values: list[object]) -> None:
    # pyarrow truncates 1.5 to 1 without a word.
    for value in values:
        if value is not None and not isinstance(value, Integral):
            raise TypeError(f"got {value!r} of type {type(value).__name__}")


def _check_key(table: str, rows: Sequence[Row]) -> None:
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        key = tuple(row.get(name) for name in KEYS[table])
        if None in key:
            missing = KEYS[table][key.index(None)]
            raise InvalidRows(f"{table}.{missing} is part of the key of {table} and must not be null")
        if key in seen:
            named = ", ".join(f"{name}={value}" for name, value in zip(KEYS[table], key, strict=True))
            raise InvalidRows(f"table {table}: two rows with the key {named}; keys must be unique")
        seen.add(key)
