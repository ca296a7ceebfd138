"""What selective synaptic dampening does with importances, how it chooses among them, and says that it did nothing."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.optim import SGD

from harness.contracts import Run
from tasks.methods._importance import Importances

RETAIN_ONLY = "retain"
"""The variant that compares forget with retain alone instead of with all training images."""


def dampen(
    model: nn.Module, forget: Importances, kept: Importances, alpha: float, dampening: float, run: Run, method: str
) -> None:
    """Multiply every parameter with I_F > alpha x I_D by min(dampening x I_D / I_F, 1), in place.

    I_F is `forget`, I_D is `kept`; where I_D is 0 and I_F is not, the parameter becomes 0. Records the shares of all
    parameters that were `selected` and `dampened` (made smaller); warns where there are none.
    """
    factors = {name: factor(forget[name], kept[name], alpha, dampening) for name in forget}
    # One epoch without a step: what is recorded is kept with the curves, and those show the model before and after.
    for _ in run.epochs(1, model, SGD(model.parameters(), lr=0.0)):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(factors[name].to(parameter.dtype))
        selected = torch.cat([(forget[name] > alpha * kept[name]).flatten() for name in forget])
        dampened = torch.cat([(value < 1).flatten() for value in factors.values()])
        run.record("selected", selected.double().mean())
        run.record("dampened", dampened.double().mean())
    if not bool(selected.any()):
        did_nothing(method, f"no ratio of importances is above alpha = {alpha:g}; lower it")
    elif not bool(dampened.any()):
        did_nothing(method, f"a dampening of {dampening:g} makes no selected parameter smaller; lower it")


def factor(forget: Tensor, kept: Tensor, alpha: float, dampening: float) -> Tensor:
    """Return in the importances' shape what a parameter is multiplied by: 1 where it is not selected."""
    return torch.where(forget > alpha * kept, (dampening * kept / forget).clamp(max=1), 1.0)


def did_nothing(method: str, why: str) -> None:
    """Warn that a method returns the original, and say why."""
    warnings.warn(f"{method}: the model is the original, nothing was dampened: {why}", stacklevel=2)


def percentile(share: float) -> float:
    """Return P in [0, 100] for the share of the training images that is to be forgotten."""
    return 100 - math.log1p(100 * share)


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
