"""The ranking that a study gets: which metrics make the overall rank, and which are ranked beside it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.metrics import usable
from harness.ranking.rank import rank

PRIVACY = "indiscernibility_val"
BESIDE = ("accuracy_test", "population_mia_val", "run_time_efficiency", "time_ratio")
"""Metrics that are ranked by themselves and do not enter the overall rank."""


def rank_study(values: pl.DataFrame, *, study: str, classes: Mapping[str, int]) -> pl.DataFrame:
    """Return the `rankings` table of a study from the frame of `harness.metrics.derive`.

    `classes` is the number of classes by data set. Methods that are not usable fail; the overall rank is over the
    metric of `accuracy_metric` and indiscernibility on val.
    """
    metrics = (accuracy_metric(values), PRIVACY)
    return rank(values, study=study, metrics=metrics, also=BESIDE, usable=usable(values, classes))


def accuracy_metric(values: pl.DataFrame) -> str:
    """Return the metric by which accuracy is ranked: retention deviation, or else the plain gap to retrain.

    The former divides by retrain's accuracy, so it is undefined where that is 0 (a forgotten class).
    """
    undefined = values.filter(pl.col("flag").str.contains("accuracy_forget is 0", literal=True))
    return "retention_deviation" if undefined.is_empty() else "gap_to_retrain"
