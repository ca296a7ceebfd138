"""SFR-on: rare ascent on forget by the weights that matter to it, between steps of fine-tuning on retain."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import FORGET, RETAIN, Run, View, choice, fixed, log_uniform, method, ranges
from tasks.methods._batches import endless, nothing_to_forget
from tasks.methods._importance import FISHER, of_batches

TINY = 1e-15
"""Added to importances and roots of losses, so that nothing is divided by 0."""
LEAST = 1e-6
"""The least loss that weights are drawn from, in nats."""

SOURCE = "Huang et al. 2024, NeurIPS, Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement"


@method(reads={RETAIN, FORGET}, name="sfr_on", source=SOURCE, version=2)
class SFROn:
    """Fine-tune on retain; every `frequency`-th iteration first ascends on forget, by the salient weights alone.

    A weight is salient where I_forget >= `threshold` x I_retain: means over batches of the squared gradient, in eval
    mode, taken once. The forget step minimises -a_t x mean(w_i CE_i), where a_t falls on a cosine from `ascent` to 0
    and w_i, without a gradient, is proportional to 1 / sqrt(CE_i) with mean 1: images known well weigh more. A CE below
    1e-6 counts as that, else one image known perfectly takes all the weight and leaves no gradient (ours). Its
    gradient is masked and cut to the norm `clip`. It has a momentum of its own and no weight decay, so that it leaves
    the other weights alone, and runs in eval mode: BatchNorm's statistics are those of retain, whose steps are in train
    mode. The learning rate falls on a cosine over all iterations. The averaging of weights in the released code has no
    effect and is left out.

    A search draws the rate, the weight decay and the batch size, too, which the authors fix for each data set: every
    optimiser here has the same ranges, so that methods compete for one budget on equal terms, on any data set.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(128)
    iterations: int = choice(500, 1500, default=1500)
    frequency: int = choice(1, 5, default=5)
    ascent: float = log_uniform(1, 500, default=25.0)
    threshold: float = choice(0.5, 1.0, 3.0, default=1.0)
    clip: float = fixed(7.0, least=1e-3)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after `iterations` steps on retain; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        masks = self._masks(model, data, run)
        retain = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        forget = SGD(model.parameters(), self.lr, self.momentum)
        schedules = [CosineAnnealingLR(optimizer, self.iterations) for optimizer in (retain, forget)]
        kept, forgotten = endless(data.retain, self.batch_size), endless(data.forget, self.batch_size)
        a_pass = math.ceil(len(data.retain) / self.batch_size)  # the curves have a point for each
        for number in run.epochs(math.ceil(self.iterations / a_pass), model, retain):
            for done in range(number * a_pass, min(self.iterations, (number + 1) * a_pass)):
                if done % self.frequency == 0:
                    images, labels, _ = next(forgotten)
                    self._ascend(model, images, labels, self.ascent * cosine(done, self.iterations), masks, forget, run)
                images, labels, _ = next(kept)
                model.train()
                run.step(retain, cross_entropy(model(images), labels))
                for schedule in schedules:
                    schedule.step()
        return model

    def _masks(self, model: nn.Module, data: View, run: Run) -> list[Tensor]:
        """Return 1 where a weight is salient, else 0, in the parameters' shapes; warns where none is."""
        forget = of_batches(model, data.forget, FISHER, self.batch_size, run)
        kept = of_batches(model, data.retain, FISHER, self.batch_size, run)
        masks = [(forget[name] + TINY) / (kept[name] + TINY) >= self.threshold for name in forget]
        selected = torch.cat([mask.flatten() for mask in masks])
        run.record("selected", selected.double().mean())
        if not bool(selected.any()):
            warnings.warn(
                f"{data.method}: no weight is salient, the model is only fine-tuned; lower the threshold",
                stacklevel=2,
            )
        return [mask.to(weight.dtype) for mask, weight in zip(masks, model.parameters(), strict=True)]

    def _ascend(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        ascent: float,
        masks: list[Tensor],
        optimizer: SGD,
        run: Run,
    ) -> None:
        """Take one step up on forget, by the salient weights."""

        def keep_salient() -> None:
            for parameter, mask in zip(model.parameters(), masks, strict=True):
                if parameter.grad is not None:
                    parameter.grad.mul_(mask)
            clip_grad_norm_(model.parameters(), self.clip)

        model.eval()
        losses = cross_entropy(model(images), labels, reduction="none")
        run.record("forget_loss", losses.mean())
        run.step(optimizer, -ascent * (weights(losses.detach()) * losses).mean(), keep_salient)


def weights(losses: Tensor) -> Tensor:
    """Return a weight [B] for each loss [B], at least `LEAST`, in inverse proportion to its root, with mean 1."""
    ease = 1 / (losses.clamp(min=LEAST).sqrt() + TINY)
    return len(losses) * ease / ease.sum()


def cosine(done: int, count: int) -> float:
    """Return what falls from 1 at 0 to 0 at `count` on half a cosine."""
    return (1 + math.cos(math.pi * done / count)) / 2
