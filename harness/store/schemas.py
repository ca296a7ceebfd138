"""The tables of a root: explicit schemas, keys, partitions. The only place where a column is declared.

Every table that is about a unit starts with the identity columns. A column may be added at the end of a table
(older files read as null there); none is renamed, retyped or removed without raising SCHEMA_VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import polars as pl
import pyarrow as pa

from harness.errors import did_you_mean
from harness.store.errors import UnknownTable

SCHEMA_VERSION: int = 1

_text, _int, _float = pa.string(), pa.int64(), pa.float64()
_time = pa.timestamp("us", tz="UTC")

_IDENTITY = (
    ("unit", _text),
    ("kind", _text),
    ("dataset", _text),
    ("scenario", _text),
    ("architecture", _text),
    ("method", _text),
    ("config", _text),
    ("seed", _int),
    ("attempt", pa.int32()),
)
IDENTITY: tuple[str, ...] = tuple(name for name, _ in _IDENTITY)


def _of_units(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*_IDENTITY, *columns])


SCHEMAS: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "units": _of_units(
            ("status", _text),  # done | diverged | failed
            ("hyperparameters", _text),  # JSON
            ("seconds", _float),  # wall clock of the whole unit
            ("work_seconds", _float),  # the train or unlearn call alone, device synchronised
            ("steps", _int),
            ("peak_memory", _int),  # bytes
            ("parameters", _int),
            ("device", _text),
            ("share", _float),  # of the device
            ("host", _text),
            ("started", _time),
            ("versions", _text),  # JSON
            ("model", _text),  # sha256 of the weights kept in models/, or null
        ),
        "hyperparameters": _of_units(("name", _text), ("number", _float), ("text", _text)),
        "metrics": _of_units(("part", _text), ("metric", _text), ("value", _float)),
        "epochs": _of_units(
            ("epoch", pa.int32()),  # 0 = before the first
            ("loss", _float),
            ("learning_rate", _float),
            ("retain", _float),  # accuracies of the parts
            ("forget", _float),
            ("val", _float),
            ("test", _float),
        ),
        "signals": _of_units(
            ("pool", _text),
            ("query", _text),  # identity | flip
            ("phi", pa.list_(pa.float32())),
            ("member", pa.list_(pa.bool_())),
            ("n", _int),
        ),
        "pools": pa.schema(
            [
                ("dataset", _text),
                ("farm", _text),  # digest of pools and seed: farms of one root draw their own
                ("pool", _text),
                ("index", _int),
                ("label", _int),
                ("trained_label", _int),
                ("kind", _text),
            ]
        ),
        "attacks": pa.schema(
            [
                ("study", _text),
                ("dataset", _text),
                ("scenario", _text),
                ("architecture", _text),
                ("method", _text),
                ("config", _text),
                ("pool", _text),
                ("null", _text),  # O | R | population
                ("level", _text),
                ("metric", _text),
                ("version", pa.int32()),
                ("value", _float),
                ("se", _float),
                ("low", _float),
                ("high", _float),
                ("p_value", _float),  # two-sided, against the null floor
                ("null_floor", _float),
                ("realised_fpr", _float),
                ("false_positives", _int),
                ("n", _int),  # shadows
                ("k_u", _int),  # observations per example, unlearned world
                ("k_o", _int),  # observations per example, null world
                ("examples", _int),
                ("flags", _text),
                ("p_adjusted", _float),  # for all rows of the study with this null, level and metric (Holm)
            ]
        ),
        "failures": _of_units(
            ("phase", _text),
            ("exception", _text),
            ("message", _text),
            ("traceback", _text),
            ("device_memory", _int),  # bytes
            ("host", _text),
            ("started", _time),
        ),
        "costs": pa.schema(
            [
                ("stage", _text),
                ("dataset", _text),
                ("architecture", _text),
                ("device", _text),
                ("seconds", _float),
                ("memory", _int),  # bytes
            ]
        ),
        "searches": pa.schema(
            [
                ("study", _text),
                ("unit", _text),
                ("dataset", _text),
                ("scenario", _text),
                ("architecture", _text),
                ("method", _text),
                ("config", _text),
                ("seed", _int),
                ("sampler", _text),  # random | nsga3
                ("number", _int),  # of the suggestion
                ("generation", _int),
                ("seeds", _text),  # that the suggestion is tried on, such as 0,1,2
                ("retain_gap", _float),  # objectives of this trial, lower is better
                ("forget_gap", _float),
                ("val_gap", _float),
                ("discernibility", _float),
                ("norm", _float),  # of the suggestion's objectives, over all its seeds; null if one has none
                ("chosen", pa.bool_()),
            ]
        ),
        "rankings": pa.schema(
            [
                ("study", _text),
                ("group", _text),
                ("metric", _text),
                ("method", _text),
                ("config", _text),
                ("value", _float),
                ("low", _float),
                ("high", _float),
                ("rank", _float),
                ("rank_low", _float),
                ("rank_high", _float),
                ("tie_group", pa.int32()),
                ("coverage", _float),
                ("status", _text),  # ranked | reference | failed
                ("cells", _int),
                ("seeds", _int),
                ("g1", _int),  # cells of the group in which the method is in G1 (best), G2, G3, Failed
                ("g2", _int),
                ("g3", _int),
                ("g_failed", _int),
                ("group_rank", _float),  # by more G1, more G2, more G3, fewer Failed, the mean
            ]
        ),
        "definitions": pa.schema(
            [
                ("metric", _text),
                ("label", _text),
                ("what", _text),
                ("direction", _text),  # lower | higher | closest
                ("reference", _text),
                ("reference_value", _float),  # where the reference is a fixed number
                ("unit", _text),
                ("source", _text),
            ]
        ),
    }
)

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "units": ("unit",),
        "hyperparameters": ("unit", "name"),
        "metrics": ("unit", "part", "metric"),
        "epochs": ("unit", "epoch"),
        "signals": ("unit", "pool", "query"),
        "pools": ("dataset", "farm", "pool", "index"),
        "attacks": (
            *("study", "dataset", "scenario", "architecture", "method", "config"),
            *("pool", "null", "level", "metric"),
        ),
        "failures": ("unit", "attempt"),
        "costs": ("stage", "dataset", "architecture", "device"),
        "searches": ("study", "unit"),
        "rankings": ("study", "group", "metric", "method", "config"),
        "definitions": ("metric",),
    }
)

# Folders below a table, outermost first. A table that is not named here has its parts in one folder.
PARTITIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(("hyperparameters", "metrics", "epochs", "signals"), ("dataset", "architecture", "method"))
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
    name for name in SCHEMAS if name not in {"attacks", "searches", "rankings", "definitions"}
)


def is_about_units(table: str) -> bool:
    """Say whether the rows of `table` start with the identity of a unit."""
    return tuple(SCHEMAS[table].names[: len(IDENTITY)]) == IDENTITY


def schema_of(table: str) -> pa.Schema:
    """Return the schema of `table`; raise `UnknownTable` with the nearest name."""
    if table not in SCHEMAS:
        raise UnknownTable(f"no table {table!r}{did_you_mean(table, SCHEMAS)}")
    return SCHEMAS[table]


@cache
def polars_schema(table: str) -> pl.Schema:
    """Return the schema of `table` in the types of polars."""
    empty = pl.from_arrow(schema_of(table).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.schema
