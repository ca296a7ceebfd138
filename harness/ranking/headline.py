"""The ranking that a study gets: which metrics make the overall rank, and which are ranked beside it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.metrics import TAMPERED_METRICS, TRIO_ACCURACIES, in_retrain_sd, usable
from harness.metrics.derive import CELL, NOT_MEASURED
from harness.ranking.cells import cell_table
from harness.ranking.friedman import Friedman, friedman_tests
from harness.ranking.groups import GroupRule
from harness.ranking.panel import judged
from harness.ranking.rank import rank

PRIVACY = ("indiscernibility_val", "indiscernibility_test")
"""The metric by which privacy is ranked, and the one that takes its place where the first was not measured."""

BESIDE = ("accuracy_test", "population_mia_val", "run_time_efficiency", "time_ratio")
"""Metrics that are ranked by themselves and do not enter the overall rank."""
BY_CLASS = ("accuracy_test_retain", "accuracy_test_forget")
"""The same, where whole classes are forgotten."""
ON_REQUEST = (*TAMPERED_METRICS, "anamnesis", *TRIO_ACCURACIES)
"""The same, where a study asks for it."""
LOSS_GAP = ("loss_gap",)
"""The same, where an attack on the losses was asked for: it is misread without the sign of the gap."""


def rank_study(
    values: pl.DataFrame, *, study: str, classes: Mapping[str, float], groups: GroupRule = "average_linkage"
) -> pl.DataFrame:
    """Return the `rankings` table of a study from the frame of `harness.metrics.derive`.

    `classes` is the number of classes by data set. Methods that are not usable fail; the overall rank is over
    `headline_metrics`.
    """
    metrics = headline_metrics(values)
    return rank(
        values, study=study, metrics=metrics, also=beside(values), usable=usable(values, classes), groups=groups
    )


def compare_cells(
    values: pl.DataFrame, *, classes: Mapping[str, float], groups: GroupRule = "average_linkage"
) -> pl.DataFrame:
    """Return the table of `harness.ranking.cells` of a study; arguments as for `rank_study`."""
    return cell_table(values, usable=usable(values, classes), groups=groups)


def spread_study(values: pl.DataFrame, *, classes: Mapping[str, float]) -> pl.DataFrame:
    """Return every metric of a study in units of retrain's noise: the frame of `harness.metrics.in_retrain_sd`.

    Trials that are not usable have no part in it; searched configs count as one, `search`.
    """
    return in_retrain_sd(judged(values, usable(values, classes))) if values.height else in_retrain_sd(values)


def friedman_study(values: pl.DataFrame, *, classes: Mapping[str, float]) -> list[Friedman]:
    """Return Friedman's test of every metric that `rank_study` ranks by, but for `overall`: that has no seeds."""
    metrics = (*headline_metrics(values), *beside(values))
    return friedman_tests(values, metrics, usable(values, classes))


def headline_metrics(values: pl.DataFrame) -> tuple[str, ...]:
    """Return the metrics that make the overall rank: `accuracy_metric`, and indiscernibility on val.

    If no finished trial had its population MIA measured on val it is that on test; if on neither, accuracy is alone.
    It is alone, too, where all cells forget whole classes (or subclasses): there the population attack has the few
    held-out images of a class, and an original that has forgotten nothing passes it. And where some cell has training
    data that was tampered with, which the attack says nothing of.
    """
    measured, none_done = _measured(values), values.filter(pl.col("status") == "done").is_empty()
    privacy = next((metric for metric in PRIVACY if metric in measured or none_done), None)
    if privacy is None or _is_beside_the_point(values):
        return (accuracy_metric(values),)
    return accuracy_metric(values), privacy


def beside(values: pl.DataFrame) -> tuple[str, ...]:
    """Return the metrics that are ranked by themselves: `BESIDE`, and of the others those that were measured."""
    measured = _measured(values)
    privacy = PRIVACY[:1] if _is_beside_the_point(values) else ()
    gap = LOSS_GAP if measured.intersection(TRIO_ACCURACIES) else ()
    return (*BESIDE, *(metric for metric in (*privacy, *BY_CLASS, *ON_REQUEST, *gap) if metric in measured))


def _is_beside_the_point(values: pl.DataFrame) -> bool:
    """Whether the population attack has no part in the overall rank."""
    return _forgets_whole_classes(values) or not _measured(values).isdisjoint(TAMPERED_METRICS)


def _forgets_whole_classes(values: pl.DataFrame) -> bool:
    done = values.filter(pl.col("status") == "done")
    of_classes = done.filter(pl.col("metric").is_in(BY_CLASS), pl.col("flag").is_null())
    return 0 < of_classes.select(CELL).n_unique() == done.select(CELL).n_unique()


def _measured(values: pl.DataFrame) -> set[str]:
    done = values.filter(pl.col("status") == "done")
    return set(done.filter(pl.col("flag").is_null() | (pl.col("flag") != NOT_MEASURED))["metric"])


def accuracy_metric(values: pl.DataFrame) -> str:
    """Return the metric by which accuracy is ranked: retention deviation, or else the plain gap to retrain.

    The former divides by retrain's accuracy, so it is undefined where that is 0 (a forgotten class).
    """
    undefined = values.filter(pl.col("flag").str.contains("accuracy_forget is 0", literal=True))
    return "retention_deviation" if undefined.is_empty() else "gap_to_retrain"
