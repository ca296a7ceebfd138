"""Ranking: bootstrap intervals, ranks with uncertainty, tie groups, coverage."""

from __future__ import annotations

from harness.ranking.bootstrap import (
    Resample,
    differs_from_zero,
    has_replicates,
    hierarchical_mean,
    interval,
    resample,
)
from harness.ranking.headline import BESIDE, accuracy_metric, rank_study
from harness.ranking.panel import REFERENCES, FailedRule, InvalidRanking
from harness.ranking.rank import OVERALL, SCHEMA, rank

__all__ = [
    "BESIDE",
    "OVERALL",
    "REFERENCES",
    "SCHEMA",
    "FailedRule",
    "InvalidRanking",
    "Resample",
    "accuracy_metric",
    "differs_from_zero",
    "has_replicates",
    "hierarchical_mean",
    "interval",
    "rank",
    "rank_study",
    "resample",
]
