"""What a study is ranked by."""

from __future__ import annotations

import polars as pl
import pytest

from harness.ranking import accuracy_metric, headline_metrics
from harness.ranking.headline import beside


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


def measured(**classes: bool) -> pl.DataFrame:
    """Return what a study has measured, by scenario: whole classes are forgotten there, or not."""
    rows = [
        {"dataset": "digits", "scenario": scenario, "architecture": "cnn_small", "status": "done", "metric": metric}
        | {"flag": "not measured" if metric.startswith("accuracy_test_") and not of_classes else None}
        for scenario, of_classes in classes.items()
        for metric in ("gap_to_retrain", "indiscernibility_val", "accuracy_test_forget")
    ]
    rows.append(rows[0] | {"metric": "forget_retention", "flag": "retrain's accuracy_forget is 0"})
    return pl.DataFrame(rows, schema_overrides={"flag": pl.String})


def test_where_only_classes_are_forgotten_the_distance_to_retrain_ranks_alone() -> None:
    alone = measured(one=True, other=True)
    assert headline_metrics(alone) == ("gap_to_retrain",)
    assert {"indiscernibility_val", "accuracy_test_forget"} <= set(beside(alone))
    mixed = measured(one=True, other=False)
    assert headline_metrics(mixed) == ("gap_to_retrain", "indiscernibility_val")
    assert "indiscernibility_val" not in beside(mixed)
