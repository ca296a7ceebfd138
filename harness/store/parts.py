"""Parquet parts: `tables/<table>/[dataset=.../architecture=.../method=.../]part-<hash>.parquet`.

A part is never changed in place. The columns that name its folders are inside the file too, so that a reader
needs no knowledge of folders, and one that has it (polars, DuckDB, Arrow) reads the same values. What a part
belongs to stands in its metadata; `harness.store.batches` says what that means.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import one_line
from harness.store import seal
from harness.store.errors import REMEDY, StoreCorrupt
from harness.store.files import File, Files
from harness.store.schemas import PARTITIONS, SCHEMAS, polars_schema
from harness.store.sound import check_part

FOLDER = "tables"
Beside = Mapping[str, Sequence[int]]
Told = tuple[str, int]
"""A unit, and an attempt at it."""

UNREADABLE = (OSError, ValueError, RecursionError, MemoryError, pa.ArrowException, pl.exceptions.PolarsError)
LOOKS = 10  # at a table from which parts are taken away meanwhile
BESIDE, OWNER = "harness.beside", "harness.owner"
_NULL = "__HIVE_DEFAULT_PARTITION__"  # what every reader of such folders takes for null


def path_of(table: str, folder: str, names: Iterable[str]) -> str:
    """Return where a part of `table` goes; its name is a hash of `names`, what its rows came from."""
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:20]
    return f"{FOLDER}/{table}/{folder}part-{digest}.parquet"


def split(table: str, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield each folder of `table` with its rows."""
    folders = folders_of(table, rows)
    if len(set(folders)) == 1:
        yield folders[0], rows
        return
    for chosen in dict.fromkeys(folders):
        yield chosen, rows.filter(pa.array([folder == chosen for folder in folders]))


def folders_of(table: str, rows: pa.Table) -> list[str]:
    """Return for each row its folder in `table`: `""`, or `dataset=.../` and so on in percent code."""
    columns = PARTITIONS.get(table, ())
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True) if columns else [()] * len(rows)
    return [_folder(columns, row) for row in values]


def encode(
    schema: pa.Schema,
    rows: pa.Table,
    *,
    owner: str | None = None,
    beside: Beside | None = None,
) -> bytes:
    """Return `rows` as a sealed Parquet file: zstd; phi with split bytes, which compress better.

    `owner` and `beside` are those of a `Part`.
    """
    notes = {} if owner is None else {OWNER: owner}
    if beside is not None:
        notes[BESIDE] = json.dumps({path: list(of) for path, of in beside.items()}, separators=(",", ":"))
    floats = {f"{field.name}.list.element" for field in schema if field.type == pa.list_(pa.float32())}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    ) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(notes | seal.METADATA)
    return seal.seal(sink.getvalue().to_pybytes())


def table_of(file: File) -> str:
    """Return the table that a part is of."""
    return file.path.split("/")[1]


@dataclass(frozen=True)
class Part:
    """A part that was found intact: where polars may read it, and to what it belongs.

    `beside`, of a `units` part, are the parts that were written with it, by path, and for which of its rows;
    `owner`, of those parts, is the path of the `units` part. None where a version wrote it that kept no account.
    """

    file: File
    at: str
    beside: Beside | None = None
    owner: str | None = None

    @property
    def table(self) -> str:
        """The table that it is of."""
        return table_of(self.file)


class Parts:
    """The parts of one root, as paths that polars may read: each was found intact by this process.

    Those of an object store are copied into a temporary folder until this process ends: they are fetched
    once, with the credentials of the root, and then read lazily.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._seen: dict[File, Part] = {}
        self._copy = threading.Lock()
        self._copies: Path | None = None

    def __reduce__(self) -> tuple[type[Parts], tuple[Files]]:
        return Parts, (self._files,)  # another process, maybe on another host, has seen nothing yet

    def find(self, table: str = "") -> list[File]:
        """Return the parts of `table`, or all, by path, unread."""
        return self._files.find(f"{FOLDER}/{table}".rstrip("/"), ".parquet")

    def check(self, file: File) -> Part:
        """Return a part; raise `StoreCorrupt` if it is damaged, `FileNotFoundError` if it is gone."""
        if file not in self._seen:
            self._seen[file] = self._check(file)
        return self._seen[file]

    def read(self, table: str = "") -> dict[str, Part | StoreCorrupt]:
        """Return every part of `table`, or of all tables, by path; of one that is damaged, what is wrong with it."""
        for _ in range(LOOKS):
            files = self.find(table)
            outcomes = self._files.map(self._outcome, files)
            found = {file.path: one for file, one in zip(files, outcomes, strict=True) if one is not None}
            if len(found) == len(files):  # else a repair has just taken one away, and written another
                break
        return found

    def scan(self, parts: Sequence[Part], schema: pl.Schema, of: str | None = None) -> pl.LazyFrame:
        """Return all rows of some parts of one table, in their order, repeated ones too; in a column of the name `of`
        the part of each."""
        if not parts:
            return pl.LazyFrame(schema=schema if of is None else {**schema, of: pl.String})
        return pl.scan_parquet(
            [part.at for part in parts],
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            include_file_paths=of,
        )

    def load(self, part: Part) -> pa.Table:
        """Return a part in today's schema; a column that is later than it is null."""
        frame = self.scan([part], polars_schema(part.table)).collect()
        return frame.to_arrow().cast(SCHEMAS[part.table])

    def told(self, part: Part) -> frozenset[Told]:
        """Return what a part tells of."""
        wanted = self.scan([part], polars_schema(part.table)).select("unit", "attempt")
        return frozenset(wanted.unique().collect().rows())

    def _outcome(self, file: File) -> Part | StoreCorrupt | None:
        try:
            return self.check(file)
        except StoreCorrupt as error:
            return error
        except FileNotFoundError:
            return None

    def _check(self, file: File) -> Part:
        try:
            data = self._files.read(file.path)
            if seal.is_ours(data) and not seal.is_intact(data):
                raise ValueError("its digest does not match")
            footer = check_part(table_of(file), data)
            notes = footer.metadata or {}
            beside, owner = notes.get(BESIDE.encode()), notes.get(OWNER.encode())
            told = None if beside is None else _beside(beside, footer.num_rows)
            return Part(file, self._readable(file, data), told, None if owner is None else owner.decode())
        except FileNotFoundError:
            raise
        except (
            OSError,
            ValueError,
            RecursionError,
            MemoryError,
            pa.ArrowException,
            pl.exceptions.PolarsError,
        ) as error:
            raise StoreCorrupt(f"{self._files.where(file.path)} is damaged: {one_line(error)}; {REMEDY}") from error

    def _readable(self, file: File, data: bytes) -> str:
        if self._files.local:
            return f"{self._files.base}/{file.path}"
        with self._copy:
            self._copies = self._copies or _temporary_folder()
        copy = self._copies / f"{hashlib.sha256(repr(file).encode()).hexdigest()}.parquet"
        copy.write_bytes(data)
        return str(copy)


def _beside(note: bytes, rows: int) -> dict[str, tuple[int, ...]]:
    """Return what a `units` part of so many rows notes; raise ValueError for anything else."""
    document = json.loads(note)
    if not isinstance(document, dict):
        raise ValueError("its account of other parts is no JSON object")
    told = {path: tuple(of) for path, of in document.items() if isinstance(of, list)}
    right = all(type(number) is int and 0 <= number < rows for of in told.values() for number in of)
    if len(told) < len(document) or not right:
        raise ValueError("its account of other parts names rows that it does not have")
    for path in told:
        folder, *rest = path.split("/")
        if folder != FOLDER or not {"", ".", ".."}.isdisjoint(rest):
            raise ValueError(f"its account of other parts names {path!r}, which is none")
    return told


def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="harness-parts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@lru_cache(maxsize=1024)
def _folder(columns: tuple[str, ...], values: tuple[str | None, ...]) -> str:
    return "".join(f"{name}={_segment(one)}/" for name, one in zip(columns, values, strict=True))


def _segment(value: str | None) -> str:
    return _NULL if value is None else urllib.parse.quote(value, safe="")
