"""Metrics: pure functions of stored rows, each number with definition, direction, unit and reference."""

from __future__ import annotations

from harness.metrics.audited import AUDIT_METRICS, CHALLENGE_METRICS, FPRS
from harness.metrics.catalogue import CLASS_PARTS, MIA_PARTS, PARTS, SVC_PARTS
from harness.metrics.definitions import (
    DEFINITIONS,
    Definition,
    Direction,
    InvalidDefinition,
    UnknownMetric,
    define,
    definition,
    frame,
)
from harness.metrics.derive import (
    BASE_METRICS,
    CELL,
    ORIGINAL,
    RETRAIN,
    TRIAL,
    TRIAL_METRICS,
    RepeatedRows,
    derive,
)
from harness.metrics.leaks import audited_in_vain, leaks
from harness.metrics.spread import GAP_IN_SD, gap_in_retrain_sd
from harness.metrics.trio import TRIO_ACCURACIES, TRIO_METRICS
from harness.metrics.usable import UnknownClassCount, usable

__all__ = [
    "AUDIT_METRICS",
    "BASE_METRICS",
    "CELL",
    "CHALLENGE_METRICS",
    "CLASS_PARTS",
    "DEFINITIONS",
    "FPRS",
    "GAP_IN_SD",
    "MIA_PARTS",
    "ORIGINAL",
    "PARTS",
    "RETRAIN",
    "SVC_PARTS",
    "TRIAL",
    "TRIAL_METRICS",
    "TRIO_ACCURACIES",
    "TRIO_METRICS",
    "Definition",
    "Direction",
    "InvalidDefinition",
    "RepeatedRows",
    "UnknownClassCount",
    "UnknownMetric",
    "audited_in_vain",
    "define",
    "definition",
    "derive",
    "frame",
    "gap_in_retrain_sd",
    "leaks",
    "usable",
]
