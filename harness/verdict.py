"""Which methods the usual attack clears and the audit does not."""

from __future__ import annotations

import polars as pl

from harness.attacks import holm
from harness.frames import of_units, trials
from harness.metrics import ORIGINAL, RETRAIN
from harness.planner import Plan
from harness.store import Store

LEVEL = 0.05
Z = 1.96


def passes_but_fails(plan: Plan, store: Store) -> list[str]:
    """Return the names of methods that pass the population attack and fail U-LiRA in some cell of a study.

    *Pass*: the mean population MIA over seeds (forget against val) is no further from 0.5 than the accuracy of
    guessing would be, 1.96 sqrt(1 / (8 n)) for n images on each side. *Fail*: on some audit pool the AUC of U-LiRA
    (level L2, null O) is above 0.5 with p < 0.05, adjusted for all methods and pools (Holm 1979).
    """
    failing = fails_audit(store.scan("attacks").filter(pl.col("study") == plan.study.name).collect())
    passing = _passes_population(plan, store)
    names = failing.join(passing, on=["dataset", "architecture", "method", "config"], how="semi")
    return sorted(set(names["method"]) - {RETRAIN, ORIGINAL})


def fails_audit(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the `attacks` rows whose U-LiRA AUC (L2, null O) is above 0.5, adjusted for their number."""
    headline = attacks.filter(
        (pl.col("level") == "L2")
        & (pl.col("null") == "O")
        & (pl.col("metric") == "auc")
        & pl.col("p_value").is_not_null()
    )
    adjusted = pl.Series("adjusted", holm(headline["p_value"].to_list()), dtype=pl.Float64)
    return headline.with_columns(adjusted).filter((pl.col("adjusted") < LEVEL) & (pl.col("value") > 0.5))


def _passes_population(plan: Plan, store: Store) -> pl.DataFrame:
    key = ["dataset", "scenario", "architecture", "method", "config"]
    values = trials(store, plan.units).filter(pl.col("metric") == "population_mia_val")
    complete = values.group_by(key).agg(pl.col("value").mean(), missing=pl.col("value").null_count())
    means = complete.filter(pl.col("missing") == 0)  # a seed that diverged has passed nothing
    signals = of_units(store, "signals", plan.units).filter(pl.col("pool").is_in(["forget", "val"]))
    images = signals.group_by(key).agg(pl.col("n").min())
    margin = Z * (1 / (8 * pl.col("n"))).sqrt()
    return means.join(images, on=key).filter((pl.col("value") - 0.5).abs() <= margin)
