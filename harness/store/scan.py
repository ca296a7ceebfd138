"""Reading: parts and commits that are not yet folded, as one lazy polars frame without repeated keys."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from harness.store import commits
from harness.store.columns import IDENTITY
from harness.store.commits import FINISHED
from harness.store.files import Files
from harness.store.parts import Parts
from harness.store.schemas import KEYS, is_about_units, polars_schema


def scan(files: Files, parts: Parts, table: str) -> pl.LazyFrame:
    """Return the rows of `table`; see `Store.scan`."""
    schema = polars_schema(table)
    # Commits before parts: a fold writes parts before it deletes commits, so one that runs now hides nothing.
    pending = _pending(files, table)
    return _newest(table, pl.concat([parts.scan(table, schema), pending.lazy()]))


def committed(files: Files, parts: Parts) -> set[str]:
    """Return the ids of the units that are done or diverged."""
    names = {commit.unit for commit in commits.find(files) if commit.failed is None}
    units = parts.scan("units", polars_schema("units"))
    return names | set(units.filter(pl.col("status").is_in(FINISHED)).select("unit").collect()["unit"])


def attempts(files: Files, parts: Parts) -> dict[str, int]:
    """Return the number of the last failed attempt of every unit that is neither done nor diverged."""
    failed = [(commit.unit, commit.failed) for commit in commits.find(files) if commit.failed is not None]
    folded = parts.scan("failures", polars_schema("failures")).select("unit", "attempt").collect().rows()
    done = committed(files, parts)
    last: dict[str, int] = {}
    for unit, attempt in [*failed, *folded]:
        if unit not in done:
            last[unit] = max(attempt, last.get(unit, 0))
    return last


def _pending(files: Files, table: str) -> pl.DataFrame:
    read = files.map(lambda commit: commits.read(files, commit, (table,)), commits.find(files))
    tables = [rows[table] for rows in read if rows and table in rows]
    frame = pl.from_arrow(pa.concat_tables(tables)) if tables else pl.DataFrame(schema=polars_schema(table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _newest(table: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Drop repeated keys: the newest attempt stays, and a unit that once finished stays finished."""
    if not is_about_units(table):
        return rows.unique(KEYS[table], keep="last", maintain_order=True)
    order = [pl.col("attempt")] if table != "units" else [pl.col("status").is_in(FINISHED), pl.col("attempt")]
    # The other identity columns follow from the unit; named here, a filter on them reaches the files.
    columns = [name for name in IDENTITY if name != "attempt"]
    key = dict.fromkeys([*columns, *KEYS[table]])
    return rows.sort(order, maintain_order=True).unique(list(key), keep="last", maintain_order=True)
