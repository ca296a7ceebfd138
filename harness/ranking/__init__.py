"""Ranking: bootstrap intervals, ranks with uncertainty, tie groups, coverage, groups of the paper, Friedman's test."""

from __future__ import annotations

from harness.ranking.bootstrap import (
    Resample,
    differs_from_zero,
    has_replicates,
    hierarchical_mean,
    interval,
    resample,
)
from harness.ranking.cells import CELLS_SCHEMA, SHORT, cell_table, known_metrics
from harness.ranking.foreign import Foreign, InvalidResults, read_results
from harness.ranking.friedman import Friedman, critical_difference, friedman, friedman_tests
from harness.ranking.groups import GroupRule, UnknownGroupRule, counts_text, divide
from harness.ranking.headline import (
    BESIDE,
    accuracy_metric,
    compare_cells,
    friedman_study,
    headline_metrics,
    rank_study,
    spread_study,
)
from harness.ranking.panel import REFERENCES, FailedRule, InvalidRanking, competitor_config, merge_searches
from harness.ranking.rank import OVERALL, SCHEMA, rank

__all__ = [
    "BESIDE",
    "CELLS_SCHEMA",
    "OVERALL",
    "REFERENCES",
    "SCHEMA",
    "SHORT",
    "FailedRule",
    "Foreign",
    "Friedman",
    "GroupRule",
    "InvalidRanking",
    "InvalidResults",
    "Resample",
    "UnknownGroupRule",
    "accuracy_metric",
    "cell_table",
    "compare_cells",
    "competitor_config",
    "counts_text",
    "critical_difference",
    "differs_from_zero",
    "divide",
    "friedman",
    "friedman_study",
    "friedman_tests",
    "has_replicates",
    "headline_metrics",
    "hierarchical_mean",
    "interval",
    "known_metrics",
    "merge_searches",
    "rank",
    "rank_study",
    "read_results",
    "resample",
    "spread_study",
]
