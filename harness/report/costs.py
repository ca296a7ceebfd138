"""What unlearning costs whatever the machine, and the composite scores of the literature: two tables, folded."""

from __future__ import annotations

from harness.metrics import COMPOSITE_METRICS, COST_METRICS, F1_METRICS, IMAGES_RATIO
from harness.report.blocks import Section
from harness.report.context import Context
from harness.report.values import Found, value_table

COSTS = (IMAGES_RATIO, *COST_METRICS)
COMPOSITES = (*COMPOSITE_METRICS, *F1_METRICS)
"""What has its place in these sections."""

OF_COSTS = (
    "What a method draws of the data, how many steps it takes and which networks it asks for: the same on any machine, "
    "unlike its time. Images that it makes up itself are not counted."
)
OF_COMPOSITES = (
    "Scores of other publications, each several numbers in one. They are here to be compared with published values and "
    "are never ranked: they hide what they are made of, and some reward what retraining does not do. Retrain's own "
    "value is in its row."
)


def cost_sections(context: Context, found: Found, basis: str) -> list[Section]:
    """Return the sections of costs and of composite scores, each only where there are such numbers."""
    wanted = (
        (COSTS, "Cost without a clock", "costs", OF_COSTS),
        (COMPOSITES, "Composite scores of others", "composites", OF_COMPOSITES),
    )
    sections = []
    for metrics, title, anchor, reading in wanted:
        present = [metric for metric in metrics if metric in found and metric in context.meanings]
        if present:
            table = value_table(context, found, present, f"{title}: {basis}", folded=True)
            sections.append(Section(title, anchor, [reading], [table]))
    return sections
