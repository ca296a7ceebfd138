"""What a study is ranked by."""

from __future__ import annotations

import polars as pl
import pytest

from harness.ranking import accuracy_metric


@pytest.mark.parametrize(
    ("flag", "metric"),
    [
        (None, "retention_deviation"),
        ("not timed", "retention_deviation"),
        ("retrain's accuracy_forget is 0", "gap_to_retrain"),
    ],
)
def test_the_gap_ranks_where_the_ratio_to_retrain_is_undefined(flag: str | None, metric: str) -> None:
    values = pl.DataFrame({"flag": [None, flag]}, schema={"flag": pl.String})
    assert accuracy_metric(values) == metric
