"""The tables of a root: schemas, keys, partitions. Their columns are declared in `harness.store.columns`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import polars as pl
import pyarrow as pa

from harness.errors import did_you_mean
from harness.store.columns import IDENTITY, TABLES
from harness.store.errors import UnknownTable

SCHEMA_VERSION: int = 1

SCHEMAS: Mapping[str, pa.Schema] = MappingProxyType(
    {name: pa.schema([(column.name, column.type) for column in table.columns]) for name, table in TABLES.items()}
)

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "units": ("unit",),
        "hyperparameters": ("unit", "name"),
        "metrics": ("unit", "part", "metric"),
        "epochs": ("unit", "epoch"),
        "traces": ("unit", "epoch", "name"),
        "sheets": ("unit", "name"),
        "signals": ("unit", "pool", "query"),
        "pools": ("dataset", "farm", "pool", "index"),
        "attacks": (
            *("study", "dataset", "scenario", "architecture", "method", "config"),
            *("pool", "null", "level", "metric"),
        ),
        "failures": ("unit", "attempt"),
        "costs": ("kind", "dataset", "architecture", "method", "device"),
        "searches": ("study", "unit"),
        "rankings": ("study", "group", "metric", "method", "config"),
        "definitions": ("metric",),
    }
)

# Folders below a table, outermost first. A table that is not named here has its parts in one folder.
PARTITIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(("hyperparameters", "metrics", "epochs", "traces", "signals"), ("dataset", "architecture", "method"))
)

# Tables that can be rewritten piece by piece, and the columns whose values name a piece.
VIEWS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attacks": ("study",),
        "searches": ("study",),
        "rankings": ("study",),
        "pools": ("dataset", "farm", "pool"),
        "costs": (),
        "definitions": (),
    }
)

# Tables that a unit may speak of; the others are computed from them.
COMMITTED: tuple[str, ...] = tuple(
    name for name in SCHEMAS if name not in {"attacks", "costs", "searches", "rankings", "definitions"}
)


_ABOUT_UNITS = {name for name, schema in SCHEMAS.items() if tuple(schema.names[: len(IDENTITY)]) == IDENTITY}


def is_about_units(table: str) -> bool:
    """Say whether the rows of `table` start with the identity of a unit."""
    return table in _ABOUT_UNITS


def schema_of(table: str) -> pa.Schema:
    """Return the schema of `table`; raise `UnknownTable` with the nearest name."""
    if table not in SCHEMAS:
        raise UnknownTable(f"no table {table!r}{did_you_mean(table, SCHEMAS)}")
    return SCHEMAS[table]


@cache
def polars_schema(table: str) -> pl.Schema:
    """Return the schema of `table` in the types of polars."""
    return pl.Schema(schema_of(table))
