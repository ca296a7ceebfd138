"""Rows become the declared types, or are refused: nothing is rounded, dropped or guessed."""

from __future__ import annotations

import numpy as np
import pytest

from harness.store import InvalidRows
from harness.store.rows import to_table

UNIT = {"unit": "a", "attempt": 1}


def test_columns_that_are_not_named_are_null() -> None:
    table = to_table("metrics", [UNIT | {"part": "val", "metric": "accuracy"}])
    assert table.to_pylist()[0]["value"] is None
    assert table["dataset"].null_count == 1


def test_arrays_and_scalars_of_numpy_are_taken() -> None:
    row = UNIT | {
        "pool": "val",
        "query": "identity",
        "phi": np.array([0.1, np.inf]),
        "member": np.array([True, False]),
    }
    table = to_table("signals", [row | {"n": np.int64(2), "seed": np.int32(3)}])
    stored = table.to_pylist()[0]
    assert stored["phi"] == [np.float32(0.1), np.inf]
    assert (stored["member"], stored["n"], stored["seed"]) == ([True, False], 2, 3)


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("metrics", {"part": "val", "metric": "m", "vale": 1.0}, "no column 'vale'; did you mean 'value'"),
        ("metrics", {"part": "val", "metric": None}, "metrics.metric is part of the key"),
        ("metrics", {"metric": "m"}, "metrics.part is part of the key"),
        ("metrics", {"part": "val", "metric": "m", "value": "0.5"}, "metrics.value takes double"),
        ("metrics", {"part": "val", "metric": 3}, "metrics.metric takes string"),
        ("units", {"steps": 1.5}, "units.steps takes int64: got 1.5"),
        ("units", {"steps": 2**63}, "units.steps takes int64"),
        ("units", {"hyperparameters": {"lr": 1}}, "units.hyperparameters takes string"),
        ("epochs", {"epoch": 2**31}, "epochs.epoch takes int32"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(table: str, row: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRows, match=message) as caught:
        to_table(table, [UNIT | row])
    assert "\n" not in str(caught.value)


def test_two_rows_with_one_key_are_refused() -> None:
    row = UNIT | {"part": "val", "metric": "m"}
    with pytest.raises(InvalidRows, match="two rows with the key unit=a, part=val, metric=m"):
        to_table("metrics", [row | {"value": 1.0}, row | {"value": 2.0}])
