"""Descent on the retain part and ascent on the forget part, together."""

from __future__ import annotations

import math
from itertools import cycle

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, REFERENCE, RETAIN, Run, View, fixed, method, ranges, variants
from tasks.methods._batches import nothing_to_forget
from tasks.methods._released import freeze_attention_biases

CAPPED = "capped"
"""The variant of advanced NegGrad whose ascent is bounded."""

ADVANCED = {"alpha": fixed(0.5, most=1), "epochs": ranges.epochs(5)}
"""Both terms weigh the same, so that a rate is twice that of the paper, which takes their plain sum."""


@method(
    reads={RETAIN, FORGET},
    source="Kurmanji et al. 2023, NeurIPS, baseline NegGrad+; advanced: Choi and Na 2023, arXiv 2311.02240",
)
class NegGradPlus:
    """Descend on alpha * CE(retain) - (1 - alpha) * CE(forget), with BatchNorm statistics frozen.

    Variant `advanced` is advanced NegGrad: both weigh the same. Nothing bounds its ascent; in `capped`, which is this
    harness's, a forget batch whose CE has reached ln C, that of a guess, is left alone; no gradient is cut to a norm.
    Under `reference` attention biases stay as they are: the released code's model gives them no gradient in eval mode.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(0.0)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    alpha: float = ranges.share(0.95)
    variant: str = variants("reference", advanced=ADVANCED, capped=ADVANCED)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after `epochs` passes over retain; forget batches are replayed within an epoch.

        The original where there is nothing to forget.
        """
        if nothing_to_forget(data):
            return model
        if self.variant == REFERENCE:
            freeze_attention_biases(model)
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        model.eval()
        for _ in run.epochs(self.epochs, model, optimizer):
            forget = cycle(data.forget.batches(self.batch_size))
            for images, labels, _ in data.retain.batches(self.batch_size):
                kept = cross_entropy(model(images), labels)
                images, labels, _ = next(forget)
                forgotten = cross_entropy(model(images), labels)
                if self.variant == CAPPED:
                    forgotten = forgotten.clamp(max=math.log(data.classes))
                run.step(optimizer, self.alpha * kept - (1 - self.alpha) * forgotten)
        return model.requires_grad_(True)
