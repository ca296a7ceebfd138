"""Reading: parts and commits that are not yet folded, as one lazy polars frame without repeated keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from harness.store import commits
from harness.store.batches import Standing, standing
from harness.store.columns import IDENTITY
from harness.store.commits import FINISHED
from harness.store.errors import StoreCorrupt
from harness.store.files import Files
from harness.store.parts import Part, Parts
from harness.store.schemas import COMMITTED, KEYS, is_about_units, polars_schema

MOMENT = pl.Datetime("us", "UTC")


def scan(files: Files, parts: Parts, table: str) -> pl.LazyFrame:
    """Return the rows of `table`; see `Store.scan`."""
    schema = polars_schema(table)
    # Commits before parts: a fold writes parts before it deletes commits, so one that runs now hides nothing.
    pending = _pending(files, table)
    intact = _intact(files, parts, table)
    rows = pl.concat([parts.scan(intact, schema), pending.lazy()])
    if not is_about_units(table):
        return rows.unique(KEYS[table], keep="last", maintain_order=True)
    twice = _told_twice(parts, intact, pending)
    if twice.is_empty():
        return rows
    repeated = pl.col("unit").is_in(twice.implode())
    return pl.concat([rows.filter(~repeated), _newest(table, rows.filter(repeated))])


def committed(files: Files, parts: Parts) -> set[str]:
    """Return the ids of the units that are done or diverged; see `Store.committed`."""
    return _finished(files, parts, standing(files, parts))


@dataclass(frozen=True)
class Ended:
    """What has ended: `committed` units, the number of the last failed attempt (from 1) of all others by unit, and
    in one line each the damaged and missing parts that may tell of more."""

    committed: set[str]
    attempts: dict[str, int]
    damage: list[str]


def ended(files: Files, parts: Parts) -> Ended:
    """Return what has ended; see `Store.ended`."""
    failed = [(commit.unit, commit.failed) for commit in commits.find(files) if commit.failed is not None]
    state, found = standing(files, parts), parts.read("failures").values()
    folded = state.counted([part for part in found if isinstance(part, Part)])
    rows = parts.scan(folded, polars_schema("failures")).select("unit", "attempt").collect().rows()
    done = _finished(files, parts, state)
    last: dict[str, int] = {}
    for unit, attempt in [*failed, *rows]:
        if unit not in done:
            last[unit] = max(attempt, last.get(unit, 0))
    wrong = [*state.damaged, *(one for one in found if isinstance(one, StoreCorrupt)), *state.holes(files)]
    return Ended(done, last, [str(error) for error in wrong])


def moments(files: Files, parts: Parts) -> pl.DataFrame:
    """Return when each unit ended that ever did; see `Store.moments`."""
    found = commits.written(files)
    pending = pl.DataFrame({"unit": [*found], "at": [*found.values()]}, {"unit": pl.String, "at": MOMENT})
    whole = [part for part in parts.read("units").values() if isinstance(part, Part)]
    ended = pl.col("started") + pl.duration(milliseconds=1000 * pl.col("seconds"))
    folded = parts.scan(whole, polars_schema("units")).select("unit", at=ended.cast(MOMENT))
    return pl.concat([pending.lazy(), folded.drop_nulls()]).group_by("unit").agg(pl.col("at").max()).collect()


def last_attempts(files: Files, parts: Parts) -> dict[str, int]:
    """Return the number of the last attempt of every unit that ever ended, however it did."""
    rows = pl.concat([scan(files, parts, table).select("unit", "attempt") for table in ("units", "failures")])
    return dict(rows.group_by("unit").agg(pl.col("attempt").max()).collect().rows())


def _finished(files: Files, parts: Parts, state: Standing) -> set[str]:
    done = {commit.unit for commit in commits.find(files) if commit.failed is None}
    is_finished = pl.col("status").is_in(FINISHED)
    schema = polars_schema("units")
    whole = parts.scan([batch.units for batch in state.batches if not batch.gone], schema)
    done |= set(whole.filter(is_finished).select("unit").collect()["unit"])
    for batch in state.batches:
        if batch.gone:
            rows = parts.scan([batch.units], schema).with_row_index("row").filter(is_finished).collect()
            done |= set(rows.filter(~pl.col("row").is_in(list(batch.torn())))["unit"])
    return done


def _intact(files: Files, parts: Parts, table: str) -> list[Part]:
    """Return the parts of `table` that count; raise `StoreCorrupt` if one is damaged or gone.

    For `units`, if one of any table is gone: it would show as finished what is not.
    """
    state = Standing(())
    if table in COMMITTED:
        state = standing(files, parts, "" if table == "units" else table)
    found = parts.read(table).values()
    sound = [part for part in found if isinstance(part, Part)]
    wrong = [error for error in found if isinstance(error, StoreCorrupt)]
    if wrong := [*state.damaged, *wrong, *state.holes(files)]:
        raise wrong[0]
    return state.counted(sound)


def _pending(files: Files, table: str) -> pl.DataFrame:
    read = files.map(lambda commit: commits.read(files, commit, (table,)), commits.find(files))
    tables = [rows[table] for rows in read if rows and table in rows]
    frame = pl.from_arrow(pa.concat_tables(tables)) if tables else pl.DataFrame(schema=polars_schema(table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _told_twice(parts: Parts, intact: Sequence[Part], pending: pl.DataFrame) -> pl.Series:
    """Return the units of which several attempts tell, or several parts, or a commit beside a part: within an attempt
    that was committed no key is there twice, and to look for one among all rows takes longer than most questions."""
    told = parts.scan(intact, pending.schema, of="of").select("unit", "attempt", "of")
    every = pl.concat([told, pending.lazy().select("unit", "attempt", of=pl.lit(""))])
    several = pl.any_horizontal(pl.col(name).min() != pl.col(name).max() for name in ("attempt", "of"))
    return every.group_by("unit").agg(several=several).filter("several").select("unit").collect()["unit"]


def _newest(table: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Drop repeated keys: the newest attempt stays, and a unit that once finished stays finished."""
    order = [pl.col("attempt")] if table != "units" else [pl.col("status").is_in(FINISHED), pl.col("attempt")]
    # The other identity columns follow from the unit; named here, a filter on them reaches the files.
    columns = [name for name in IDENTITY if name != "attempt"]
    key = dict.fromkeys([*columns, *KEYS[table]])
    return rows.sort(order, maintain_order=True).unique(list(key), keep="last", maintain_order=True)
