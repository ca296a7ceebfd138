"""One object for everything that a unit has to say: `commits/<unit>.arrow`.

The object is an Arrow file with a row per table: its name, and its rows as an Arrow stream with the table's
explicit schema. A failed attempt is `commits/<unit>.<attempt>.failed.arrow` and never counts as done. The
names alone tell which units need not run again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa

from harness.errors import one_line
from harness.secrets import without_secrets
from harness.store import seal
from harness.store.errors import REMEDY, InvalidRows, SchemaMismatch, StoreCorrupt
from harness.store.files import Files
from harness.store.rows import Row, Rows, to_table
from harness.store.schemas import COMMITTED, SCHEMAS, is_about_units
from harness.store.sound import check_rows

FOLDER = "commits"
FINISHED = ("done", "diverged")
_UNIT = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(rf"(?P<unit>{_UNIT.pattern})(\.(?P<attempt>[0-9]+)\.failed)?\.arrow")
_LAYOUT = pa.schema([("table", pa.string()), ("data", pa.binary())])


@dataclass(frozen=True)
class Commit:
    """A stored commit; `failed` is the number of the failed attempt, or null for a unit that finished. Of one that was
    found in a root `size` is the number of its bytes."""

    unit: str
    failed: int | None
    size: int = field(default=0, compare=False)

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
    """Store the rows of a failed attempt: needs its row in `failures`, else a fold would forget it.

    What an error says is code's own words: the secrets in it are not stored.
    """
    attempts = [row.get("attempt") for row in rows.get("failures", ())]
    if attempts != [attempt]:
        raise InvalidRows(f"a failure of {unit} needs one row in failures with attempt {attempt}; got {attempts}")
    if any(row.get("status") != "failed" for row in rows.get("units", ())):
        raise InvalidRows(f"a failure of {unit} takes no row in units with a status other than failed")
    told = [{name: _told(value) for name, value in row.items()} for row in rows["failures"]]
    _write(files, Commit(unit, attempt), {**rows, "failures": told})


def _told(value: object) -> object:
    return without_secrets(value) if isinstance(value, str) else value


def find(files: Files) -> list[Commit]:
    """Return the commits that are not yet folded, by name."""
    matches = ((_NAME.fullmatch(file.name), file.size) for file in files.find(FOLDER, ".arrow"))
    named = ((match["unit"], match["attempt"], size) for match, size in matches if match)
    return [Commit(unit, None if attempt is None else int(attempt), size) for unit, attempt, size in named]


def written(files: Files) -> dict[str, datetime]:
    """Return when the commits that are not yet folded were written (UTC), by unit; of several attempts the last."""
    found: dict[str, datetime] = {}
    for file in files.find(FOLDER, ".arrow"):
        if match := _NAME.fullmatch(file.name):
            at = datetime.fromtimestamp(file.changed / 1e9, UTC)
            found[match["unit"]] = max(at, found.get(match["unit"], at))
    return found


def read(files: Files, commit: Commit, tables: Collection[str] | None = None) -> dict[str, pa.Table] | None:
    """Return the rows of `commit` by table, of `tables` alone if given; None if it was folded meanwhile.

    Raises `StoreCorrupt` for a torn or altered file, `SchemaMismatch` for one of a newer version.
    """
    try:
        data = files.read(commit.path)
        if not seal.is_intact(data):
            raise ValueError("its digest does not match")
        packed = _unpack(data)
        wanted = [table for table in packed if tables is None or table in tables]
        return {table: _conform(files, commit, table, packed[table]) for table in wanted}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise StoreCorrupt(f"{files.where(commit.path)} is damaged: {one_line(error)}; {REMEDY}") from error


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
    packed.validate(full=True)
    names = packed["table"].to_pylist() if packed.schema == _LAYOUT else []
    if None in names or len(set(names)) < len(packed) or packed["data"].null_count:
        raise ValueError("it is no list of tables")
    return dict(zip(names, (stream.as_buffer() for stream in packed["data"]), strict=True))


def _conform(files: Files, commit: Commit, table: str, stream: pa.Buffer) -> pa.Table:
    """Return the stored rows with today's columns; those of an older version lack the later ones."""
    rows = pa.ipc.open_stream(stream).read_all()
    schema = SCHEMAS[table] if table in COMMITTED else pa.schema([])
    known, found = schema.names, rows.column_names  # each a new list, whenever it is asked for
    unknown = [f"{table}.{name}" for name in found if name not in known]
    if unknown or not known:
        what = unknown[0] if unknown else table
        raise SchemaMismatch(f"{files.where(commit.path)} holds {what}, unknown here; use the version that wrote it")
    check_rows(table, rows)
    if found == known:
        return rows
    for column in schema:
        if column.name not in found:
            rows = rows.append_column(column, pa.nulls(len(rows), column.type))
    return rows.select(known)
