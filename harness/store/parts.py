"""Parquet parts: `tables/<table>/[dataset=.../architecture=.../method=.../]part-<hash>.parquet`.

A part is never changed in place. The columns that name its folders are inside the file too, so that a reader
needs no knowledge of folders, and one that has it (polars, DuckDB, Arrow) reads the same values.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import one_line
from harness.store import seal
from harness.store.errors import StoreCorrupt
from harness.store.files import File, Files
from harness.store.schemas import PARTITIONS

FOLDER = "tables"
_NULL = "__HIVE_DEFAULT_PARTITION__"  # what every reader of such folders takes for null


def path_of(table: str, folder: str, names: Iterable[str]) -> str:
    """Return where a part of `table` goes; its name is a hash of `names`, what its rows came from."""
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:20]
    return f"{FOLDER}/{table}/{folder}part-{digest}.parquet"


def split(table: str, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield each folder of `table` (`""`, or `dataset=.../` and so on in percent code) with its rows."""
    columns = PARTITIONS.get(table)
    if columns is None:
        yield "", rows
        return
    values = list(zip(*(rows[name].to_pylist() for name in columns), strict=True))
    for chosen in dict.fromkeys(values):
        folder = "".join(f"{name}={_segment(value)}/" for name, value in zip(columns, chosen, strict=True))
        yield folder, rows.filter(pa.array([value == chosen for value in values]))


def encode(schema: pa.Schema, rows: pa.Table) -> bytes:
    """Return `rows` as a sealed Parquet file: zstd; phi with split bytes, which compress better."""
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
        writer.add_key_value_metadata(seal.METADATA)
    return seal.seal(sink.getvalue().to_pybytes())


class Parts:
    """The parts of one root, as paths that polars may read: each was found intact by this process.

    Those of an object store are copied into a temporary folder until this process ends: they are fetched
    once, with the credentials of the root, and then read lazily.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._seen: dict[File, str] = {}
        self._copies: Path | None = None

    def __reduce__(self) -> tuple[type[Parts], tuple[Files]]:
        return Parts, (self._files,)  # another process, maybe on another host, has seen nothing yet

    def scan(self, table: str, schema: pl.Schema) -> pl.LazyFrame:
        """Return all rows of all parts of `table`, repeated ones too; raise `StoreCorrupt` naming a file."""
        parts = self._files.find(f"{FOLDER}/{table}", ".parquet")
        if not parts:
            return pl.LazyFrame(schema=schema)
        if not self._files.local and self._copies is None:
            self._copies = _temporary_folder()
        return pl.scan_parquet(
            self._files.map(self._checked, parts),
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
        )

    def _checked(self, part: File) -> str:
        if part not in self._seen:
            self._seen[part] = self._check(part)
        return self._seen[part]

    def _check(self, part: File) -> str:
        try:
            data = self._files.read(part.path)
            if seal.is_ours(data) and not seal.is_intact(data):
                raise ValueError("its digest does not match")
            pq.read_metadata(pa.BufferReader(data))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreCorrupt(f"{self._files.where(part.path)} is damaged: {one_line(error)}") from error
        if self._copies is None:
            return f"{self._files.base}/{part.path}"
        copy = self._copies / f"{hashlib.sha256(repr(part).encode()).hexdigest()}.parquet"
        copy.write_bytes(data)
        return str(copy)


def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="harness-parts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _segment(value: str | None) -> str:
    return _NULL if value is None else urllib.parse.quote(value, safe="")
