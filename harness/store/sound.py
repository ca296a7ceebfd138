"""What stored bytes must be before anything follows them: a root may come from anyone, and digests are no secret.

The readers of Parquet and Arrow are fast rather than wary: there are files that end the process which reads them, or
take all its memory. Here a file is refused, or read once by Arrow with every check that it has, before polars sees it.
"""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from harness.store.schemas import KEYS, SCHEMAS, is_about_units, polars_schema

MOST_ELEMENTS, MOST_ROWS = 1000, 2_000_000
"""Of a part: of its schema, whose readers go down by recursion, and rows, of which a few bytes can tell billions."""
BATCH = 100_000  # rows in memory at once


def check_part(table: str, data: bytes) -> pq.FileMetaData:
    """Return the footer of a part; raise ValueError, or what a reader raises, where it cannot be read to its end."""
    if _elements(data) > MOST_ELEMENTS:
        raise ValueError("its schema has more columns than any table")
    file = pq.ParquetFile(pa.BufferReader(data))
    footer = file.metadata
    # Of a column Arrow tells nothing here: where its statistics are odd, the process ends.
    rows = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    if not 0 <= footer.num_rows <= MOST_ROWS or rows != footer.num_rows:
        raise ValueError(f"it has more than the {MOST_ROWS:,} rows of which a part is read, or cannot count them")
    if table in SCHEMAS:  # else it is of a newer version
        # Not by pa.table, which imports pandas.
        known = [name for name in file.schema_arrow.names if name in SCHEMAS[table].names]
        check_rows(table, pa.Table.from_batches([], file.schema_arrow).select(known))
        for batch in file.iter_batches(BATCH, columns=known):
            check_rows(table, pa.Table.from_batches([batch]))
        seen, wanted = pl.read_parquet_schema(io.BytesIO(data)), polars_schema(table)
        if any(seen.get(name) != wanted[name] for name in known):
            raise ValueError("its columns hold one thing for one reader and another for the next")
    return footer


def check_rows(table: str, rows: pa.Table) -> None:
    """Raise ValueError, or what Arrow raises, where stored rows are not what the table takes; columns may be absent."""
    rows.validate(full=True)
    names = rows.column_names
    if len(set(names)) < len(names):
        raise ValueError("it has a column twice")
    for field in () if rows.schema.equals(SCHEMAS[table]) else rows.schema:
        wanted = SCHEMAS[table].field(field.name).type
        if field.type != wanted:
            raise ValueError(f"its column {field.name} holds {field.type}, not {wanted}")
    identity = ("unit", "attempt") if is_about_units(table) else ()
    for name in dict.fromkeys((*identity, *KEYS[table])):
        if name in identity and name not in names:
            raise ValueError(f"it has no column {name}")
        if name in names and rows[name].null_count:
            raise ValueError(f"its column {name} lacks a value")


def _elements(data: bytes) -> int:
    """Return the number of elements in the schema of a Parquet file, columns and groups; raise ValueError.

    Every writer begins the footer with its version and the list of the elements (Thrift's compact protocol).
    """
    footer = io.BytesIO(data[max(0, len(data) - 8 - int.from_bytes(data[-8:-4], "little")) : -8])
    if data[-4:] != b"PAR1" or footer.read(1) != b"\x15":
        raise ValueError("it is no Parquet file")
    _varint(footer)
    if footer.read(1) != b"\x19":
        raise ValueError("its footer does not begin with a schema")
    count = int.from_bytes(footer.read(1), "little") >> 4
    return _varint(footer) if count == 15 else count


def _varint(stream: io.BytesIO) -> int:
    """Return a whole number that is written in groups of 7 bits, the lowest first; raise ValueError."""
    number = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            break
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
    raise ValueError("its footer is torn")
