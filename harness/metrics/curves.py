"""How fast a trial became what it is: sums over its curve, the table `epochs`."""

from __future__ import annotations

import polars as pl

GOAL = 0.9
"""The share of retrain's accuracy that a trial is to reach."""

ROUNDING = 1e-9
"""The last bit of a product must not cost an epoch."""

_NO_CURVE = {"unit": pl.String(), "epoch": pl.Int32(), "steps": pl.Int64(), "retain": pl.Float64()}


def retain_curves(epochs: pl.DataFrame | None) -> pl.DataFrame:
    """Return unit, epoch, steps, retain in the order of the epochs, without epochs of which one is not known."""
    if epochs is None:
        return pl.DataFrame(schema=_NO_CURVE)
    return (
        epochs.select(pl.col(name).cast(dtype) for name, dtype in _NO_CURVE.items()).drop_nulls().sort("unit", "epoch")
    )


def first_steps(curves: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """Return unit, `reached`: the steps until the first epoch at whose end retain was at least `wanted` (unit, wanted).

    Null where it never was; there is a row for each unit that has a curve.
    """
    above = pl.col("retain") >= pl.col("wanted") - ROUNDING
    joined = curves.join(wanted.select("unit", "wanted"), on="unit")
    return joined.group_by("unit").agg(reached=pl.col("steps").filter(above).min().cast(pl.Float64))


def areas(curves: pl.DataFrame) -> pl.DataFrame:
    """Return unit, `area`: that under the accuracy on retain over steps by the trapezoidal rule, over all steps.

    So it is the mean accuracy on the way, in [0, 1]; null where no step was taken.
    """
    steps, retain = pl.col("steps"), pl.col("retain")
    slices = curves.with_columns(
        width=(steps - steps.shift(1)).over("unit"), height=((retain + retain.shift(1)) / 2).over("unit")
    )
    area, width = (pl.col("width") * pl.col("height")).sum(), pl.col("width").sum()
    return slices.group_by("unit").agg(area=pl.when(width > 0).then(area / width))
