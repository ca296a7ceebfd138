"""The declarations fit each other, for every table."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from harness.store import KEYS, SCHEMAS
from harness.store.errors import UnknownTable
from harness.store.schemas import (
    COMMITTED,
    IDENTITY,
    PARTITIONS,
    VIEWS,
    is_about_units,
    polars_schema,
    schema_of,
)


@pytest.mark.parametrize("table", SCHEMAS)
def test_keys_partitions_and_pieces_are_columns(table: str) -> None:
    names = set(SCHEMAS[table].names)
    assert set(KEYS[table]) <= names
    assert set(PARTITIONS.get(table, ())) <= names
    assert set(VIEWS.get(table, ())) <= set(KEYS[table])
    assert len(names) == len(SCHEMAS[table])


def test_every_table_can_be_written_in_some_way() -> None:
    assert KEYS.keys() == SCHEMAS.keys()
    assert set(COMMITTED) | VIEWS.keys() == SCHEMAS.keys()


def test_units_are_identified_alike_everywhere() -> None:
    about_units = {table for table in SCHEMAS if is_about_units(table)}
    assert about_units == {"units", "hyperparameters", "metrics", "epochs", "traces", "sheets", "signals", "failures"}
    assert IDENTITY == (
        "unit",
        "kind",
        "dataset",
        "scenario",
        "architecture",
        "method",
        "config",
        "seed",
        "attempt",
    )
    for table in about_units:
        assert SCHEMAS[table].field("attempt").type == pa.int32()
        assert SCHEMAS[table].field("seed").type == pa.int64()


def test_signals_hold_lists_of_any_length() -> None:
    assert polars_schema("signals")["phi"] == pl.List(pl.Float32)
    assert polars_schema("signals")["member"] == pl.List(pl.Boolean)
    assert polars_schema("units")["started"] == pl.Datetime("us", "UTC")


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(UnknownTable, match="no table 'metric'; did you mean 'metrics'"):
        schema_of("metric")
