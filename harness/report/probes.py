"""What is left in each method's models of what they were made to forget: a table, retrain's row to read it by."""

from __future__ import annotations

from harness.metrics import EFFICACY_RATIO, HEAD_METRICS, PROBE_METRICS
from harness.report.blocks import Section
from harness.report.context import Context
from harness.report.values import Found, value_table

PROBES = (*PROBE_METRICS, EFFICACY_RATIO)
"""What has its place in this section."""

READING = (
    "Whether what a model was made to forget is gone or only hidden: how accurate a copy of it is on forget images "
    "that are never shown to it, after a few others were; what a new head reaches on its features (KR); how accurate "
    "it is under noise. Read each number against retrain's, never against 0: what retraining leaves open is no trace. "
    "Accuracy that comes back sooner than retrain's was hidden. None of it is ranked."
)
SMALL = "A forget set of fewer than 2 k images has no number for k shown."


def probe_sections(context: Context, found: Found, basis: str) -> list[Section]:
    """Return the section, nothing where no trial was probed; `basis` says what the numbers are means of."""
    present = [metric for metric in PROBES if metric in found and metric in context.meanings]
    if not present:
        return []
    heads = [metric for metric in present if metric in HEAD_METRICS]
    others = [metric for metric in present if metric not in heads]
    groups = ((others, "What comes back"), (heads, "What a new head tells apart"))
    tables = [value_table(context, found, metrics, f"{title}: {basis}") for metrics, title in groups if metrics]
    return [Section("What is left in the model", "probes", [READING, SMALL], tables)]
