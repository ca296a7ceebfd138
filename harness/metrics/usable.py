"""Which trials gave a model that one could use at all."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.errors import HarnessError, did_you_mean
from harness.metrics.derive import NOT_COMPUTABLE, NOT_FINITE, ORIGINAL, TRIAL

CHANCE_FACTOR = 1.5


class UnknownClassCount(HarnessError):
    """A data set whose number of classes was not given."""


def usable(values: pl.DataFrame, classes: Mapping[str, float]) -> pl.DataFrame:
    """Return one row per trial of `values` (a frame of `derive`): key, `usable`, and `reason` if it is not.

    A trial is usable if it finished, its losses and accuracies are finite, its population MIA could be
    computed wherever it was measured, and its test accuracy is above 1.5 / C, with C = `classes[dataset]`.
    The last keeps models that collapsed to chance out of a ranking, where they would win indiscernibility.

    Raises UnknownClassCount if a data set of `values` is not in `classes`.
    """
    for dataset in values["dataset"].unique().sort():
        if dataset not in classes:
            raise UnknownClassCount(f"classes of data set {dataset!r} not given{did_you_mean(dataset, classes)}")
    count = pl.col("dataset").replace_strict(classes, return_dtype=pl.Float64)
    reasons = values.with_columns(threshold=CHANCE_FACTOR / count).group_by(TRIAL).agg(reason=_reason())
    return reasons.select(*TRIAL, pl.col("reason").is_null().alias("usable"), "reason").sort(TRIAL)


def idle(values: pl.DataFrame) -> set[tuple[str, str]]:
    """Return (method, config) of whoever left the weights of some original as they were, but for `original` itself."""
    unchanged = values.filter(pl.col("metric") == "changed_weights", pl.col("value") == 0, pl.col("method") != ORIGINAL)
    return set(unchanged.select("method", "config").rows())


def _reason() -> pl.Expr:
    status = pl.col("status").first()
    not_finished = pl.when(status != "done").then(pl.lit("trial ") + status)
    broken = (_broken(prefix) for prefix in ("accuracy_", "loss_", "population_mia_"))
    return pl.coalesce(not_finished, *broken, _by_chance())


def _broken(prefix: str) -> pl.Expr:
    """Name the first metric of the trial that starts with the prefix and was measured in vain."""
    broken = pl.col("metric").str.starts_with(prefix) & pl.col("flag").is_in([NOT_COMPUTABLE, NOT_FINITE])
    return (pl.col("metric") + pl.lit(" ") + pl.col("flag")).filter(broken).sort().first()


def _by_chance() -> pl.Expr:
    is_test = pl.col("metric") == "accuracy_test"
    accuracy, threshold = pl.col("value").filter(is_test).first(), pl.col("threshold").first()
    text = pl.format("accuracy_test {} is not above {}", accuracy.round(4), threshold.round(4))
    missing = pl.when(accuracy.is_null()).then(pl.lit("accuracy_test not measured"))
    return missing.when(accuracy <= threshold).then(text)
