"""LoTUS: the original's own answers as targets, the more random on forget the better it is known."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, softmax
from torch.optim import AdamW

from harness.contracts import FORGET, RETAIN, VAL, Run, Samples, View, choice, fixed, log_uniform, method, ranges
from harness.engine.evaluate import BATCH, evaluating

LEAST_EXCESS = -0.01
"""At this excess of the accuracy on forget over that to reach, or below, nothing is left to do."""


@method(reads={RETAIN, FORGET, VAL}, name="lotus", source="Spartalis et al. 2025, CVPR, LoTUS")
class LoTUS:
    """Distil the original into itself: tempered Gumbel answers on forget, draws from its answers on some of retain.

    Each epoch d is by how much the accuracy on forget is above that to reach: the original's on val, or 0 where
    classes are forgotten; at -0.01 or below it ends. The target of a forget image is softmax((z + g) / tau), tau =
    exp(`alpha` x d), z being the original's logits and g Gumbel noise drawn anew each time; that of a retain image is
    1 at the largest z + g, which is a draw from softmax(z). `subset` is the share of retain, drawn once. The original
    answers in eval mode, the student learns in train mode, by AdamW; no label counts but through the accuracies. d and
    tau are recorded as `excess` and `temperature`.

    A search draws the batch size, too, which the authors fix: every optimiser here has the same ranges, so that methods
    compete for one budget on equal terms. And any `alpha` from 1 to 16, where they try 2, 4, 8 and 16: a sampler can
    make use of the values in between.
    """

    lr: float = ranges.learning_rate(1e-4)
    weight_decay: float = fixed(5e-4)
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(10)
    alpha: float = log_uniform(1.0, 16.0, default=2.0)
    subset: float = choice(0.1, 0.3, 1.0, default=0.3)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the student; the original, with a warning, where it knows forget no better than is wanted."""
        both = self._some(data.retain, run).join(data.forget)
        retained = len(both) - len(data.forget)
        answers = logits_of(model, both, run)
        goal = 0.0 if data.forget_classes else accuracy(model, data.val, run)
        optimizer = AdamW(model.parameters(), self.lr, weight_decay=self.weight_decay)
        model.train()
        for epoch in run.epochs(self.epochs, model, optimizer):
            excess = accuracy(model, data.forget, run) - goal
            if not excess > LEAST_EXCESS:  # nor where one of them is of no image
                if epoch == 0:
                    why = f"its accuracy on forget is {excess + goal:.3g}, that to reach {goal:.3g}"
                    warnings.warn(f"{data.method}: the model is the original: {why}", stacklevel=2)
                break
            warmth = temperature(self.alpha, excess)
            run.record("excess", torch.tensor(excess))
            run.record("temperature", torch.tensor(warmth))
            for images, _, positions in both.batches(self.batch_size):
                wanted = targets(answers[positions], positions < retained, warmth, run.generator)
                run.step(optimizer, cross_entropy(model(images), wanted))
        return model

    def _some(self, retain: Samples, run: Run) -> Samples:
        """Return the share of retain that is trained on, at least one image."""
        count = max(1, round(self.subset * len(retain)))
        return retain.take(torch.randperm(len(retain), generator=run.generator)[:count])


def logits_of(model: nn.Module, samples: Samples, run: Run) -> Tensor:
    """Return the logits [n, C] of images as they are, in their own order; the model in eval mode."""
    found = []
    with evaluating(model), torch.no_grad():
        for images, _, _ in samples.batches(BATCH, shuffle=False):
            run.check()
            found.append(model(images).float())
    return torch.cat(found)


def accuracy(model: nn.Module, samples: Samples, run: Run) -> float:
    """Return the share of images that a model in eval mode has right, NaN of none."""
    if not len(samples):
        return math.nan
    return float((logits_of(model, samples, run).argmax(1) == samples.labels).double().mean())


def temperature(alpha: float, excess: float) -> float:
    """Return tau = exp(alpha x d): 1 where the accuracy on forget is the one to reach."""
    return math.exp(alpha * excess)


def targets(logits: Tensor, is_retain: Tensor, warmth: float, generator: torch.Generator) -> Tensor:
    """Return target probabilities [B, C] from the original's logits [B, C]; `is_retain` [B] chooses between the two.

    The Gumbel noise is drawn on the CPU, so that devices agree.
    """
    waits = torch.empty(logits.shape).exponential_(generator=generator)
    noisy = logits - waits.clamp(min=torch.finfo(waits.dtype).tiny).log().to(logits.device)
    drawn = one_hot(noisy.argmax(1), logits.shape[1]).to(logits.dtype)
    return torch.where(is_retain[:, None], drawn, softmax(noisy / warmth, dim=1))
