"""What a run has cost whatever the machine, as numbers of its unit."""

from __future__ import annotations

import torch

from harness.engine.models import state_bytes
from harness.engine.run import TrainingRun
from harness.metrics import DRAWN_PARTS
from harness.work.attacked import Numbers


def of_method(run: TrainingRun) -> Numbers:
    """Return images drawn by part, optimiser steps, and bytes of the artifacts that a method asked for."""
    return {**_drawn(run), ("all", "artifact_bytes"): sum(run.lent.values())}


def of_artifact(run: TrainingRun, network: torch.nn.Module) -> Numbers:
    """Return the same of the making of an artifact; the bytes are its own."""
    return {**_drawn(run), ("all", "artifact_bytes"): state_bytes(network)}


def _drawn(run: TrainingRun) -> Numbers:
    images = {(part, "images_seen"): run.drawn[part] for part in DRAWN_PARTS}
    return {**images, ("all", "optimiser_steps"): run.steps + run.steps_aside}
