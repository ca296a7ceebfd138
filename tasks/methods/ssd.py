"""Selective synaptic dampening: make those weights smaller that matter far more to forget than to all images.

The four methods differ in what a weight's importance is: with labels or without, from the gradients of batches or of
single images (`det`: neither a batch size nor an order counts).
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from harness.contracts import FORGET, RETAIN, Run, View, choice, family, log_uniform, method, variants
from tasks.methods._dampening import RETAIN_ONLY, dampen, did_nothing
from tasks.methods._importance import FISHER, SENSITIVITY, Measure, of_batches, of_images

SSD_PAPER = "Foster et al. 2024, AAAI, arXiv 2308.07707"
LFSSD_PAPER = "Foster et al. 2024, arXiv 2402.19308"
DET_PAPER = "arXiv 2510.26714, appendix B"


@family
class ByBatches:
    """Importances from gradients of batches; all images are retain, then forget, in their own order.

    A parameter is selected where I_forget > alpha x I_all, and multiplied by min(dampening x I_all / I_forget, 1). No
    step is taken. No ratio is above n / n_forget where the images to forget fall into the same batches in both passes;
    elsewhere few are, if there are many batches. Where nothing is selected, a warning says so. Variant `retain`
    compares with retain alone: another method, without that bound.
    """

    measure: ClassVar[Measure]

    alpha: float = log_uniform(0.1, 100, default=5.0)
    dampening: float = log_uniform(0.01, 5, default=1.0)
    batch_size: int = choice(32, 128, default=128, capped=True)
    variant: str = variants(retain={"alpha": log_uniform(0.1, 1e6, default=10.0)})

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the dampened model."""
        forget = of_batches(model, data.forget, self.measure, self.batch_size, run)
        rest = data.retain if self.variant == RETAIN_ONLY else data.retain_and_forget
        kept = of_batches(model, rest, self.measure, self.batch_size, run)
        dampen(model, forget, kept, self.alpha, self.dampening, run, data.method)
        return model


@family
class ByImages:
    """Importances from gradients of single images: means, so that I_all >= n_forget / n x I_forget for all parameters.

    Otherwise as by batches. From alpha = n / n_forget on nothing can be selected: the original is returned at once, and
    a warning says so.
    """

    measure: ClassVar[Measure]

    alpha: float = log_uniform(0.1, 100, default=2.0)
    dampening: float = log_uniform(0.01, 5, default=1.0)
    variant: str = variants(retain={"alpha": log_uniform(0.1, 1e6, default=10.0)})

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the dampened model."""
        count, alone = len(data.forget) + len(data.retain), self.variant == RETAIN_ONLY
        if not alone and self.alpha * len(data.forget) >= count:
            bound = count / len(data.forget)
            did_nothing(data.method, f"alpha is {self.alpha:g}; it must be below n / n_forget = {bound:.4g}")
            return model
        forget = of_images(model, data.forget, self.measure, run)
        kept = of_images(model, data.retain, self.measure, run)
        if not alone:
            share = len(data.forget) / count
            kept = {name: (1 - share) * value + share * forget[name] for name, value in kept.items()}
        dampen(model, forget, kept, self.alpha, self.dampening, run, data.method)
        return model


@method(reads={RETAIN, FORGET}, name="ssd", source=SSD_PAPER)
class SSD(ByBatches):
    """Dampen what the Fisher information of forget, from batches, names: selective synaptic dampening.

    The published alpha of 10 selects next to nothing where 10 % are forgotten; 5 is that of the released code for a
    vision transformer.
    """

    measure = FISHER


@method(reads={RETAIN, FORGET}, name="ssd_det", source=f"{SSD_PAPER}; {DET_PAPER}")
class SSDDet(ByImages):
    """Dampen what the Fisher information of forget, image by image, names.

    The default alpha is this harness's: at most half of the images can be forgotten with it.
    """

    measure = FISHER


@method(reads={RETAIN, FORGET}, name="lfssd", source=LFSSD_PAPER)
class LFSSD(ByBatches):
    """Dampen what the squared norm of the logits on forget depends on, from batches: no label.

    The default alpha is the published one for random requests.
    """

    measure = SENSITIVITY
    alpha: float = log_uniform(0.1, 100, default=3.5)


@method(reads={RETAIN, FORGET}, name="lfssd_det", source=f"{LFSSD_PAPER}; {DET_PAPER}")
class LFSSDDet(ByImages):
    """Dampen what the squared norm of the logits on forget depends on, image by image: no label.

    The default alpha is this harness's: absolute gradients of single images differ less than squared ones.
    """

    measure = SENSITIVITY
    alpha: float = log_uniform(0.1, 100, default=1.5)
