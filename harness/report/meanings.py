"""What each number means: the definitions, and how they read on a figure or in a table head."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import polars as pl

from harness.metrics import TRIO_ACCURACIES, Definition
from harness.report.numbers import tick

Meanings = Mapping[str, Definition]

HEADLINE = (
    "retention_deviation",
    "indiscernibility_val",
    "population_mia_val",
    "accuracy_forget",
    "accuracy_test",
    *TRIO_ACCURACIES,
    "loss_gap",
    "anamnesis",
    "time_ratio",
)
"""What a reader wants to see of every method; whatever else has a definition follows in a second table."""

ONLY_BESIDE = {"loss_gap": TRIO_ACCURACIES}
"""These are among the first only where one of the others was measured: it is misread without them."""


def read_meanings(definitions: pl.DataFrame) -> dict[str, Definition]:
    """Return the definitions by metric, in their order."""
    return {row["metric"]: Definition(**row) for row in definitions.iter_rows(named=True)}


def shown(trials: pl.DataFrame, meanings: Meanings) -> tuple[list[str], list[str]]:
    """Return the headline metrics and the others that have both a value and a definition."""
    present = set(trials.filter(pl.col("value").is_not_null())["metric"])
    known = [metric for metric in HEADLINE if metric in present and metric in meanings]
    headline = [one for one in known if one not in ONLY_BESIDE or present.intersection(ONLY_BESIDE[one])]
    return headline, [metric for metric in meanings if metric in present and metric not in headline]


def in_order(metrics: Collection[str], meanings: Meanings) -> list[str]:
    """Return the defined ones among the metrics: `overall`, the headline, the others."""
    order = [*(one for one in ("overall", *HEADLINE) if one in meanings), *meanings]
    return [metric for metric in dict.fromkeys(order) if metric in metrics]


def undefined(frame: pl.DataFrame, meanings: Meanings) -> list[str]:
    """Return the metrics of a frame that nobody defined, sorted."""
    return sorted(metric for metric in set(frame["metric"].drop_nulls()) if metric not in meanings)


def better(meaning: Definition) -> str:
    """Return which values are better, in words."""
    if meaning.direction != "closest":
        return f"{meaning.direction} is better"
    fixed = meaning.reference_value
    return f"best at {'retrain' if fixed is None else tick(fixed)}"


def most(meaning: Definition) -> float:
    """Return the largest value that the metric can have."""
    return 1.0 if meaning.unit == "fraction" else math.inf


def named(meaning: Definition) -> str:
    """Return the metric in words and which values are better: a label may be an abbreviation."""
    return f"{meaning.metric.replace('_', ' ').replace('mia', 'MIA')}, {better(meaning)}"


def arrow(meaning: Definition) -> str:
    """Return which values are better, as a sign."""
    fixed = meaning.reference_value
    closest = f"→ {'retrain' if fixed is None else tick(fixed)}"
    return {"lower": "↓", "higher": "↑", "closest": closest}[meaning.direction]


def sentence(meaning: Definition) -> str:
    """Return the whole definition in one line, for whoever points at a number's name."""
    reading = f"{better(meaning).capitalize()}. Unit: {meaning.unit}."
    return f"{meaning.metric}: {meaning.what}. {reading} {meaning.source}"
