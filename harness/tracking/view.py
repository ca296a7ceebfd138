"""A saved view of MLflow's web interface: the cells of one plan by rank, the headline numbers as columns.

Without one the interface lists the runs and none of their numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from harness.metrics import TRIO_ACCURACIES
from harness.ranking import OVERALL
from harness.tracking.content import PLAN_TAG
from harness.tracking.names import metric_name, rank_name
from harness.tracking.plan import StoredPlan

COLUMNS = (
    rank_name(OVERALL),
    *map(
        metric_name,
        (
            *("retention_deviation", "gap_to_retrain", "indiscernibility_val", "population_mia_val"),
            *("accuracy_test", "accuracy_forget", *TRIO_ACCURACIES, "anamnesis", "time_ratio"),
        ),
    ),
)
AUDIT = re.compile(r"mia/([^/]+/)?ulira_._auc")
PIXELS_PER_LETTER, LEAST_PIXELS = 8, 110


def view_tag(plan: StoredPlan) -> str:
    """Return the tag of the experiment under which the interface looks for the view of a plan."""
    return f"mlflow.sharedViewState.{plan.id}"


def view_text(plan: StoredPlan, metrics: Collection[str], created: int) -> str:
    """Return the view as the interface reads it.

    `metrics` are those that some cell has, `created` is in ms of Unix time. The interface ignores keys that
    it does not know.
    """
    audit = sorted(metric for metric in metrics if AUDIT.fullmatch(metric))
    columns = [f"metrics.`{metric}`" for metric in (*COLUMNS, *audit) if metric in metrics]
    state = {
        "searchFilter": f"tags.`{PLAN_TAG}` = '{plan.id}'",
        "orderByKey": f"metrics.`{COLUMNS[0]}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: max(LEAST_PIXELS, PIXELS_PER_LETTER * len(column)) for column in columns},
        "runsHiddenMode": "SHOW_ALL",
    }
    return json.dumps({"name": f"Ranking {plan.id}", "createdAt": created, "state": json.dumps(state)})


def view_path(plan: str, experiment: str) -> str:
    """Return where the view of a plan is, behind the address of the server."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={plan}"


def run_path(experiment: str, run: str) -> str:
    """Return where the page of a run is, behind the address of the server."""
    return f"/#/experiments/{experiment}/runs/{run}"
