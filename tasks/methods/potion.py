"""POTION: dampen ever more weights until the images to forget are no longer recognised."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, View, choice, fixed, method
from tasks.methods._batches import nothing_to_forget
from tasks.methods._dampening import did_nothing, finite, percentile, quantile_of_sorted
from tasks.methods._error import error
from tasks.methods._importance import NORM_SENSITIVITY, Importances, of_batches

FIRST_SHARE = 1 / 25
"""The first try selects as many weights as `assd` would for this share of the images to forget."""

GROWTH = 1.1
"""By which that share grows from try to try."""


@method(reads={RETAIN, FORGET}, source="Schoepf et al. 2024, arXiv 2406.09173, POTION (ALFSSD with a search)")
class Potion:
    """Dampen ever more weights of the original until its accuracy on forget is at most `rho` of what it was.

    An importance is the mean over batches of |gradient of the mean norm of the logits|, in eval mode, with I_D that of
    retain alone. Try k selects I_F > alpha_k x I_D, where alpha_k is the P_k-th percentile of all finite ratios, P_k =
    100 - ln(1 + 100 x 1.1^k x n_forget / (25 n)), multiplies by I_D / I_F, and starts from the original each time. Only
    that stopping test reads labels, those of forget. Where all `tries` fail, the model of the last one is returned,
    `converged` is recorded as 0 and a warning says so; the released code then returns the original. BatchNorm's
    statistics stay. The default `rho` is this harness's: made for poison, the method forgets random images far more
    than a retrained model does.
    """

    rho: float = choice(0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 0.75, default=0.25)
    tries: int = fixed(500, least=1)
    batch_size: int = fixed(128, least=1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the dampened model; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        forget = of_batches(model, data.forget, NORM_SENSITIVITY, self.batch_size, run)
        kept = of_batches(model, data.retain, NORM_SENSITIVITY, self.batch_size, run)
        ratios = {name: forget[name] / kept[name] for name in forget}
        # One epoch without a step: what is recorded is kept with the curves, and those show the model before and after.
        for _ in run.epochs(1, model, SGD(model.parameters(), lr=0.0)):
            alpha, tries, converged = self._search(model, data, run, ratios)
            selected = torch.cat([(ratio > alpha).flatten() for ratio in ratios.values()])
            run.record("selected", selected.double().mean())
            run.record("tries", torch.tensor(float(tries)))
            run.record("converged", torch.tensor(float(converged)))
        if not bool(selected.any()):
            did_nothing(data.method, f"no ratio of importances is above alpha = {alpha:g}")
        elif not converged:
            warnings.warn(
                f"{data.method}: accuracy on forget is still above rho = {self.rho:g} of the original's after "
                f"{tries} tries; the model is that of the last one",
                stacklevel=2,
            )
        return model

    def _search(self, model: nn.Module, data: View, run: Run, ratios: Importances) -> tuple[float, int, bool]:
        """Leave the model as the last try has it; return that try's alpha, how many there were, and the success."""
        original = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        dampened = {name: value / ratios[name].clamp(min=1).to(value.dtype) for name, value in original.items()}
        ordered = finite(ratios).sort().values
        share = FIRST_SHARE * len(data.forget) / (len(data.forget) + len(data.retain))
        enough = Fraction(str(self.rho)) * (1 - error(model, data.forget, run))  # both exact: a tie is a tie
        for tried in range(self.tries):
            alpha = alpha_at(ordered, share * GROWTH**tried)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(torch.where(ratios[name] > alpha, dampened[name], original[name]))
            if 1 - error(model, data.forget, run) <= enough:
                return alpha, tried + 1, True
        return alpha, self.tries, False


def alpha_at(ordered: Tensor, share: float) -> float:
    """Return the percentile of ascending ratios [n] that belongs to a share; infinite where there are no ratios.

    A share of many times the images, at the end of a long search, ends at the smallest ratio.
    """
    rank = max(0.0, percentile(share))
    return float(quantile_of_sorted(ordered, rank / 100)) if len(ordered) else math.inf
