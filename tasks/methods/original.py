"""The original model, unchanged: the reference for no unlearning at all."""

from __future__ import annotations

from torch import nn

from harness.contracts import Run, View, method


@method(reads=(), reference=True, source="Cadet et al. 2024, arXiv 2410.01276")
class Original:
    """Do nothing: the original model as it is."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model."""
        return model
