"""The four objectives of a trial, from stored metrics: how far it is from the retrain of its seed."""

from __future__ import annotations

import polars as pl

PARTS = ("retain", "forget", "val")
OBJECTIVES = (*(f"{part}_gap" for part in PARTS), "discernibility")
"""All are minimised, 0 is best: |accuracy - retrain's| / 3 on retain, forget and val, and |2 MIA - 1| on val."""

MEASURED = frozenset({*(("accuracy", part) for part in PARTS), ("population_mia", "val")})
"""The stored metrics that they are made of, with the part of each."""


def objectives(trials: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    """Return `trials` with a column for each of `OBJECTIVES`, and `norm`, their Euclidean norm; null if one is unknown.

    `trials` has the columns `unit` and `retrain` (the unit that retrained with the same seed), `metrics` the stored
    rows of both. Test images play no part. Formulas: released code of Cadet et al. 2024, arXiv 2410.01276.
    """
    accuracy = {part: _stored(metrics, "accuracy", part) for part in PARTS}
    rows = trials
    for part, stored in accuracy.items():
        own, reference = stored.rename({"value": "own"}), stored.rename({"value": "reference", "unit": "retrain"})
        rows = rows.join(own, on="unit", how="left").join(reference, on="retrain", how="left")
        gap = (pl.col("own") - pl.col("reference")).abs() / len(PARTS)
        rows = rows.with_columns(gap.alias(f"{part}_gap")).drop("own", "reference")
    mia = _stored(metrics, "population_mia", "val").rename({"value": "mia"})
    rows = rows.join(mia, on="unit", how="left")
    rows = rows.with_columns(discernibility=(2 * pl.col("mia") - 1).abs()).drop("mia")
    return rows.with_columns(norm=norm())


def norm() -> pl.Expr:
    """The Euclidean norm of the objectives; null if one is."""
    return sum((pl.col(name) ** 2 for name in OBJECTIVES), start=pl.lit(0.0)).sqrt()


def _stored(metrics: pl.DataFrame, metric: str, part: str) -> pl.DataFrame:
    return metrics.filter((pl.col("metric") == metric) & (pl.col("part") == part)).select("unit", "value")
