"""One object for everything that a unit has to say: `commits/<unit>.arrow`.

The object is an Arrow file with a row per table: its name, and its rows as an Arrow stream with the table's
explicit schema. A failed attempt is `commits/<unit>.<attempt>.failed.arrow` and never counts as done. The
names alone tell which units need not run again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

from harness.errors import one_line
from harness.store import seal
from harness.store.errors import InvalidRows, SchemaMismatch, StoreCorrupt
from harness.store.files import Files
from harness.store.rows import Row, Rows, to_table
from harness.store.schemas import COMMITTED, SCHEMAS, is_about_units

FOLDER = "commits"
FINISHED = ("done", "diverged")
_UNIT = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(rf"(?P<unit>{_UNIT.pattern})(\.(?P<attempt>[0-9]+)\.failed)?\.arrow")
_LAYOUT = pa.schema([("table", pa.string()), ("data", pa.binary())])


@dataclass(frozen=True)
class Commit:
    """A stored commit; `failed` is the number of the failed attempt, or null for a unit that finished."""

    unit: str
    failed: int | None

    @property
    def name(self) -> str:
        return self.unit if self.failed is None else f"{self.unit}.{self.failed}.failed"

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.name}.arrow"


def write(files: Files, unit: str, rows: Rows) -> None:
    """Store the rows of a unit that finished: needs its row in `units`, else a fold would forget it."""
    statuses = [row.get("status") for row in rows.get("units", ())]
    if len(statuses) != 1 or statuses[0] not in FINISHED:
        raise InvalidRows(f"a commit of {unit} needs one row in units with status done or diverged; got {statuses}")
    _write(files, Commit(unit, None), rows)


def write_failure(files: Files, unit: str, attempt: int, rows: Rows) -> None:
    """Store the rows of a failed attempt: needs its row in `failures`, else a fold would forget it."""
    attempts = [row.get("attempt") for row in rows.get("failures", ())]
    if attempts != [attempt]:
        raise InvalidRows(f"a failure of {unit} needs one row in failures with attempt {attempt}; got {attempts}")
    if any(row.get("status") != "failed" for row in rows.get("units", ())):
        raise InvalidRows(f"a failure of {unit} takes no row in units with a status other than failed")
    _write(files, Commit(unit, attempt), rows)


def find(files: Files) -> list[Commit]:
    """Return the commits that are not yet folded, by name."""
    matches = (_NAME.fullmatch(file.name) for file in files.find(FOLDER, ".arrow"))
    named = ((match["unit"], match["attempt"]) for match in matches if match)
    return [Commit(unit, None if attempt is None else int(attempt)) for unit, attempt in named]


def read(files: Files, commit: Commit, tables: Collection[str] | None = None) -> dict[str, pa.Table] | None:
    """Return the rows of `commit` by table, of `tables` alone if given; None if it was folded meanwhile.

    Raises `StoreCorrupt` for a torn or altered file, `SchemaMismatch` for one of a newer version.
    """
    try:
        data = files.read(commit.path)
        if not seal.is_intact(data):
            raise ValueError("its digest does not match")
        packed = _unpack(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        where = files.where(commit.path)
        raise StoreCorrupt(f"{where} is damaged ({one_line(error)}); delete it and its unit runs again") from error
    wanted = [table for table in packed if tables is None or table in tables]
    return {table: _conform(files, commit, table, packed[table]) for table in wanted}


def _write(files: Files, commit: Commit, rows: Rows) -> None:
    if not _UNIT.fullmatch(commit.unit):
        raise InvalidRows(f"{commit.unit!r} is no unit id; letters, digits, - and _ make one")
    tables = {table: to_table(table, some) for table, some in rows.items()}
    for table, some in rows.items():
        if table not in COMMITTED:
            raise InvalidRows(
                f"table {table} is a view, rewritten as a whole; a commit may hold {', '.join(COMMITTED)}"
            )
        if is_about_units(table):
            _check_identity(table, commit, some)
    files.write(commit.path, _pack({table: some for table, some in tables.items() if len(some)}))


def _check_identity(table: str, commit: Commit, rows: Collection[Row]) -> None:
    for row in rows:
        if row.get("unit") != commit.unit or row.get("attempt") is None:
            got = f"unit {row.get('unit')!r}, attempt {row.get('attempt')!r}"
            raise InvalidRows(
                f"a row of {table} in the commit of {commit.unit} is about {got}; name both, of this unit"
            )


def _pack(tables: Mapping[str, pa.Table]) -> bytes:
    packed = pa.record_batch([list(tables), [_stream(table) for table in tables.values()]], schema=_LAYOUT)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _LAYOUT, metadata=seal.METADATA) as writer:
        writer.write_batch(packed)
    return seal.seal(sink.getvalue().to_pybytes())


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _unpack(data: bytes) -> dict[str, pa.Buffer]:
    packed = pa.ipc.open_file(data).read_all()
    streams = (stream.as_buffer() for stream in packed["data"])
    return dict(zip(packed["table"].to_pylist(), streams, strict=True))


def _conform(files: Files, commit: Commit, table: str, stream: pa.Buffer) -> pa.Table:
    """Return the stored rows with today's columns; those of an older version lack the later ones."""
    rows = pa.ipc.open_stream(stream).read_all()
    schema = SCHEMAS.get(table, pa.schema([]))
    if rows.column_names == schema.names:
        return rows
    for name in rows.column_names:
        if name not in schema.names:
            where = files.where(commit.path)
            raise SchemaMismatch(f"{where} holds {table}.{name}, unknown here; use the version that wrote it")
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(schema.names)
