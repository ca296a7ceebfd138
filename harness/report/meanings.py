"""What each number means: the definitions, and how they read on a figure or in a table head."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import polars as pl

from harness.metrics import Definition
from harness.report.numbers import tick

Meanings = Mapping[str, Definition]

HAYES = "Hayes et al. 2024, arXiv 2403.01218"

HEADLINE = (
    "retention_deviation",
    "indiscernibility_val",
    "population_mia_val",
    "accuracy_forget",
    "accuracy_test",
    "time_ratio",
)
"""What a reader wants to see of every method; whatever else has a definition follows in a second table."""


def read_meanings(definitions: pl.DataFrame) -> dict[str, Definition]:
    """Return the definitions by metric, in their order."""
    return {row["metric"]: Definition(**row) for row in definitions.iter_rows(named=True)}


def audited(metrics: Iterable[str], meanings: Meanings) -> dict[str, Definition]:
    """Return the definitions, and after them those of the audit's statistics that they lack."""
    missing = {metric: _of_audit(metric) for metric in sorted(metrics) if metric not in meanings}
    return {**meanings, **{metric: meaning for metric, meaning in missing.items() if meaning}}


def _of_audit(metric: str) -> Definition | None:
    name, _, rate = metric.partition("@")
    if name == "auc":
        label, chance = "audit AUC", 0.5
        what = "chance that the audit scores an image that was forgotten above one that was not there"
    elif name == "tpr" and _is_number(rate):
        share = f"{100 * float(rate):g} %"
        label, chance = f"TPR at {share} FPR", float(rate)
        what = f"share of forgotten images that the audit recognises while it accuses {share} of the others"
    elif metric == "bacc@0":
        label, chance = "balanced accuracy", 0.5
        what = "mean of the audit's true-positive and true-negative rates, threshold at likelihood ratio 1"
    else:
        return None
    return Definition(metric, label, what, "closest", f"{chance:g}: guessing", "fraction", HAYES, chance)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def shown(trials: pl.DataFrame, meanings: Meanings) -> tuple[list[str], list[str]]:
    """Return the headline metrics and the others that have both a value and a definition."""
    present = set(trials.filter(pl.col("value").is_not_null())["metric"])
    headline = [metric for metric in HEADLINE if metric in present and metric in meanings]
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
