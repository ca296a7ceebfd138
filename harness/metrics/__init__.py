"""Metrics: pure functions of stored rows, each number with definition, direction, unit and reference."""

from __future__ import annotations

from harness.metrics.audited import AUDIT_METRICS, CHALLENGE_METRICS, FPRS
from harness.metrics.catalogue import CLASS_PARTS, MIA_PARTS, PARTS, SVC_PARTS
from harness.metrics.compared import LIKENESS_METRICS, LIKENESS_PARTS
from harness.metrics.composite import COMPOSITE_METRICS, F1_METRICS, macro_f1
from harness.metrics.costs import COST_METRICS, DRAWN_PARTS, IMAGES_RATIO
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
from harness.metrics.probed import EFFICACY_RATIO, HEAD_METRICS, PROBE_METRICS
from harness.metrics.sequence import FORGOTTEN_BEFORE, OVER_REQUESTS, SEQUENCE_METRICS, chains, over_requests
from harness.metrics.spread import GAP_IN_SD, IN_SD, gap_in_retrain_sd, in_retrain_sd
from harness.metrics.tampered import TAMPERED_METRICS
from harness.metrics.trio import TRIO_ACCURACIES, TRIO_METRICS
from harness.metrics.usable import UnknownClassCount, idle, usable

__all__ = [
    "AUDIT_METRICS",
    "BASE_METRICS",
    "CELL",
    "CHALLENGE_METRICS",
    "CLASS_PARTS",
    "COMPOSITE_METRICS",
    "COST_METRICS",
    "DEFINITIONS",
    "DRAWN_PARTS",
    "EFFICACY_RATIO",
    "F1_METRICS",
    "FORGOTTEN_BEFORE",
    "FPRS",
    "GAP_IN_SD",
    "HEAD_METRICS",
    "IMAGES_RATIO",
    "IN_SD",
    "LIKENESS_METRICS",
    "LIKENESS_PARTS",
    "MIA_PARTS",
    "ORIGINAL",
    "OVER_REQUESTS",
    "PARTS",
    "PROBE_METRICS",
    "RETRAIN",
    "SEQUENCE_METRICS",
    "SVC_PARTS",
    "TAMPERED_METRICS",
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
    "chains",
    "define",
    "definition",
    "derive",
    "frame",
    "gap_in_retrain_sd",
    "idle",
    "in_retrain_sd",
    "leaks",
    "macro_f1",
    "over_requests",
    "usable",
]
