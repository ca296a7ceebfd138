"""Retraining from scratch without the forget set: the reference for perfect unlearning."""

from __future__ import annotations

from torch import nn

from harness.contracts import RETAIN, Run, View, method
from harness.engine.train import train


@method(reads={RETAIN}, reference=True, source="Cadet et al. 2024, arXiv 2410.01276, 'naive'")
class Retrain:
    """Train the same initial weights by the same recipe on the retain part alone."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return a model that never saw the forget part; the given model is not used."""
        return train(run.initial_model(), data.retain, run.recipe, run)
