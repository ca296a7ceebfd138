"""Which rows of an audit are leaks, told from the null more often than guessing would; and which say nothing."""

from __future__ import annotations

import polars as pl

from harness.attacks import holm

LEVEL = 0.05
HEADLINE, GUESSING = "auc", 0.5


def leaks(attacks: pl.DataFrame, null: str = "O") -> pl.DataFrame:
    """Return the rows of U-LiRA's AUC (level L2) against one null, with the column `leaks`.

    `attacks` is the table of one study. A row leaks if its AUC is above 0.5 with p < 0.05, adjusted for
    all rows that are returned (Holm 1979, Scand. J. Statist. 6). Rows without a p value are left out.
    """
    rows = _headline(attacks, null).filter(pl.col("p_value").is_not_null())
    adjusted = pl.Series("adjusted", holm(rows["p_value"].to_list()), dtype=pl.Float64)
    return rows.with_columns(leaks=(adjusted < LEVEL) & (rows["value"] > GUESSING))


def audited_in_vain(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of U-LiRA's AUC (level L2, null O) that have no value because the releases diverged."""
    broken = pl.col("flags").str.contains("insufficient") & pl.col("flags").str.contains("nonfinite")
    return _headline(attacks, "O").filter(pl.col("value").is_null(), broken)


def _headline(attacks: pl.DataFrame, null: str) -> pl.DataFrame:
    return attacks.filter(pl.col("level") == "L2", pl.col("null") == null, pl.col("metric") == HEADLINE)
