"""Adaptive selective synaptic dampening: SSD whose alpha follows from how much is to be forgotten."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harness.contracts import FORGET, RETAIN, Run, View, fixed, method, variants
from tasks.methods._dampening import RETAIN_ONLY, dampen
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


def percentile(share: float) -> float:
    """Return P in [0, 100] for the share of the training images that is to be forgotten."""
    return 100 - math.log1p(100 * share)


def adaptive_alpha(forget: Importances, kept: Importances, rank: float) -> float:
    """Return the percentile of I_F / I_D over all parameters together; infinite where no ratio is finite."""
    ratios = finite({name: forget[name] / kept[name] for name in forget})
    return float(quantile(ratios, rank / 100)) if len(ratios) else math.inf


def finite(ratios: Importances) -> Tensor:
    """Return those ratios [n] that are finite, of all parameters together."""
    together = torch.cat([ratio.flatten() for ratio in ratios.values()])
    return together[together.isfinite()]


def quantile(values: Tensor, share: float) -> Tensor:
    """Return the quantile [] of values [n], linearly between neighbours; `torch.quantile` ends at 2**24 values."""
    return quantile_of_sorted(values.sort().values, share)


def quantile_of_sorted(ordered: Tensor, share: float) -> Tensor:
    """Return the quantile [] of ascending values [n], for those who want several of the same values."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)
