"""The MLflow experiment of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.tracking.address import Address
from harness.tracking.content import NOTE_TAG
from harness.tracking.errors import TrackingUnavailable
from harness.tracking.plan import StoredPlan

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow would show traces of language models first, and ask."""


def find_experiment(client: MlflowClient, plan: StoredPlan, address: Address) -> Experiment:
    """Return the study's experiment, which is made, or restored if somebody deleted it.

    Raises TrackingUnavailable if a SQLite database was made in another place: MLflow keeps absolute paths,
    and would write files there.
    """
    location = f"{address.artifacts}/{plan.study}" if address.artifacts else None
    found = client.get_experiment_by_name(plan.study)
    if found is None:
        found = client.get_experiment(client.create_experiment(plan.study, location))
    elif address.file and location and found.artifact_location.removeprefix("file://") != location:
        raise TrackingUnavailable(
            f"{address.file} was made in another place and keeps files in {found.artifact_location}; "
            "delete it and sync again: it is rebuilt from the tables"
        )
    elif found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    set_tags(client, found, KIND | {NOTE_TAG: plan.question})
    return found


def set_tags(client: MlflowClient, experiment: Experiment, tags: Mapping[str, str]) -> None:
    """Set those tags of an experiment that differ."""
    for name, value in tags.items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)
