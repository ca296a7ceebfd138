"""How many images a model gets wrong, exactly."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import nn

from harness.contracts import Run, Samples
from harness.engine.evaluate import BATCH, evaluating


def error(model: nn.Module, samples: Samples, run: Run) -> Fraction:
    """Return the share of samples that a model gets wrong in eval mode, exactly, so that a tie is a tie."""
    wrong = torch.zeros((), dtype=torch.int64, device=run.device)
    with evaluating(model), torch.no_grad():
        for images, labels, _ in samples.batches(BATCH, shuffle=False):
            run.check()
            wrong += (model(images).argmax(1) != labels).sum()
    return Fraction(int(wrong), len(samples))
