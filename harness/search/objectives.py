"""The four objectives of a trial, from stored metrics: how far it is from the retrain of its seed."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

PARTS = ("retain", "forget", "val")
OBJECTIVES = (*(f"{part}_gap" for part in PARTS), "discernibility")
"""All are minimised, 0 is best: |accuracy - retrain's| / 3 on retain, forget and val, and |2 MIA - 1| on val."""
MEASURED = {metric: metric for metric in (*(("accuracy", part) for part in PARTS), ("population_mia", "val"))}
"""The stored metrics that they are made of, each with its part; by themselves, so that all who keep one share it."""

Measured = Mapping[tuple[str, str], float]
"""What was stored of a model, by metric and part."""


def objectives(trial: Measured, retrain: Measured) -> dict[str, float | None]:
    """Return the value of each of `OBJECTIVES`; None where it is unknown.

    Test images play no part. Formulas: released code of Cadet et al. 2024, arXiv 2410.01276.
    """
    found: dict[str, float | None] = dict.fromkeys(OBJECTIVES)
    for part in PARTS:
        own, reference = trial.get(("accuracy", part)), retrain.get(("accuracy", part))
        if own is not None and reference is not None:
            found[f"{part}_gap"] = abs(own - reference) / len(PARTS)
    if (mia := trial.get(("population_mia", "val"))) is not None:
        found["discernibility"] = abs(2 * mia - 1)
    return found


def norm() -> pl.Expr:
    """The Euclidean norm of the objectives; null if one is."""
    return sum((pl.col(name) ** 2 for name in OBJECTIVES), start=pl.lit(0.0)).sqrt()
