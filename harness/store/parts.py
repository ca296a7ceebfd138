"""Parquet parts of the tables: `tables/<table>/[dataset=.../architecture=.../method=.../]part-<hash>.parquet`.

A part is never changed in place. The columns that name its folders are inside the file too, so that a reader needs
no knowledge of folders, and one that has it (polars, DuckDB, Arrow) reads the same values.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from functools import cached_property

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from harness.store import seal
from harness.store.errors import StoreCorrupt, one_line
from harness.store.files import File, Files
from harness.store.schemas import PARTITIONS

FOLDER = "tables"
_NULL = "__HIVE_DEFAULT_PARTITION__"  # what every reader of such folders takes for null


def path_of(table: str, folder: str, names: Iterable[str]) -> str:
    """Return where the part of `table` goes that is made of what `names` tell; the same names, the same path."""
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:20]
    return f"{FOLDER}/{table}/{folder}part-{digest}.parquet"


def split(table: str, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each folder of `table` with the folder (`""`, or `dataset=.../.../` in percent code)."""
    columns = PARTITIONS.get(table, ())
    values = (
        list(zip(*(rows[name].to_pylist() for name in columns), strict=True)) if columns else [()] * len(rows)
    )
    for chosen in dict.fromkeys(values):
        folder = "".join(f"{name}={_segment(value)}/" for name, value in zip(columns, chosen, strict=True))
        yield folder, rows.filter(pa.array([value == chosen for value in values]))


def encode(schema: pa.Schema, rows: pa.Table) -> bytes:
    """Return `rows` as a sealed Parquet file: zstd, and phi byte by byte of the floats (a third smaller)."""
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
    """The parts of one root, as paths that polars may read: each was seen whole by this process.

    Those of an object store are copied into a temporary folder that lives as long as this object: they are read
    with the credentials of the root, once, and lazily from then on.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._seen: dict[File, str] = {}

    def scan(self, table: str, schema: pl.Schema) -> pl.LazyFrame:
        """Return all rows of all parts of `table`, repeated ones too; raise `StoreCorrupt`, naming the file."""
        parts = self._files.find(f"{FOLDER}/{table}", ".parquet")
        if not parts:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            self._files.map(self._checked, parts),
            schema=schema,
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
        )

    @cached_property
    def _copies(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="harness-parts-")

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
        return f"{self._files.base}/{part.path}" if self._files.local else self._copy(part, data)

    def _copy(self, part: File, data: bytes) -> str:
        name = hashlib.sha256(repr(part).encode()).hexdigest()
        path = os.path.join(self._copies.name, f"{name}.parquet")
        with open(path, "wb") as file:
            file.write(data)
        return path


def _segment(value: str | None) -> str:
    return _NULL if value is None else urllib.parse.quote(value, safe="")
