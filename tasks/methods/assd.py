"""Adaptive selective synaptic dampening: SSD whose alpha follows from how much is to be forgotten."""

from __future__ import annotations

import math

from torch import nn

from harness.contracts import FORGET, RETAIN, Run, View, fixed, method, variants
from tasks.methods._dampening import RETAIN_ONLY, dampen, finite, percentile, quantile
from tasks.methods._importance import FISHER, Importances, of_batches


@method(reads={RETAIN, FORGET}, name="assd", source="Schoepf et al. 2024, arXiv 2402.10098")
class ASSD:
    """Selective synaptic dampening without a search: alpha is the P-th percentile of all ratios of importances.

    P = 100 - ln(1 + 100 x n_forget / n); ratios that are not finite are left out. The dampening is 1, the importances
    are those of `ssd`. Variant `retain` compares forget with retain alone, as the authors' notebook does.
    """

    batch_size: int = fixed(128, least=1)
    variant: str = variants(RETAIN_ONLY)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the dampened model."""
        forget = of_batches(model, data.forget, FISHER, self.batch_size, run)
        rest = data.retain if self.variant == RETAIN_ONLY else data.retain_and_forget
        kept = of_batches(model, rest, FISHER, self.batch_size, run)
        rank = percentile(len(data.forget) / (len(data.forget) + len(data.retain)))
        dampen(model, forget, kept, adaptive_alpha(forget, kept, rank), 1.0, run, data.method)
        return model


def adaptive_alpha(forget: Importances, kept: Importances, rank: float) -> float:
    """Return the percentile of I_F / I_D over all parameters together; infinite where no ratio is finite."""
    ratios = finite({name: forget[name] / kept[name] for name in forget})
    return float(quantile(ratios, rank / 100)) if len(ratios) else math.inf
