"""Influence unlearning: one Newton-like step away from the forget part."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts import FORGET, REFERENCE, RETAIN, Run, Samples, View, method, ranges, variants
from tasks.methods._released import refuse_attention_biases

BATCH = 256
"""What is held in memory at a time; sums over images do not depend on it."""

DAMPING = 1000
"""N of the WoodFisher recursion: the inverse of I + (1/N) sum g g^T is estimated."""

LAST_SAMPLE = DAMPING + 1
"""The position of the last retain sample that the recursion sees."""


@method(
    reads={RETAIN, FORGET},
    source="Koh & Liang 2017, ICML; Izzo et al. 2021, AISTATS; Singh & Alistarh 2020, NeurIPS (WoodFisher)",
)
class InfluenceUnlearning:
    """Add alpha x (inverse Fisher matrix) x (gradient of forget - gradient of retain) to the weights, in eval mode.

    The gradients of CE weigh what leaving the forget part out would change in the training loss; the inverse comes
    from one WoodFisher pass over retain images. `reference`
    refuses a model with attention biases, on which the released code crashes.
    """

    alpha: float = ranges.share(0.2)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after the step."""
        if self.variant == REFERENCE:
            refuse_attention_biases(model, "influence_unlearning")
        model.eval()
        share = len(data.forget) / (len(data.forget) + len(data.retain))
        forgotten = mean_gradient(model, data.forget, run)
        kept = mean_gradient(model, data.retain, run)
        step = woodfisher(model, share * (forgotten - kept), data.retain, run)
        parameters = list(model.parameters())
        pieces = torch.split(step, [parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.add_(self.alpha * piece.view_as(parameter))
        return model


def mean_gradient(model: nn.Module, samples: Samples, run: Run) -> Tensor:
    """Return the gradient of the mean cross-entropy of a part, all parameters in one vector [n]."""
    total = torch.zeros((), device=run.device)
    for images, labels, _ in samples.batches(BATCH, shuffle=False):
        run.check()
        total = total + len(labels) * gradient(model, images, labels)
    return total / len(samples)


def woodfisher(model: nn.Module, vector: Tensor, samples: Samples, run: Run) -> Tensor:
    """Return an estimate of (I + (1/N) sum g g^T)^-1 vector [n]; exact where all gradients g of samples are parallel.

    Source: Singh & Alistarh 2020, by rank-one updates that keep one direction instead of a matrix. The first sample
    gives the direction, samples 1 to 1001 at most one update each.
    """
    direction: Tensor | None = None
    for image, label in islice(one_by_one(samples), LAST_SAMPLE + 1):
        run.check()
        sample = gradient(model, image, label)
        if direction is None:
            direction = sample
            continue
        overlap = direction @ sample
        vector = vector - (vector @ sample) / (DAMPING + overlap) * direction
        direction = direction - overlap / (DAMPING + overlap) * direction
    return vector


def one_by_one(samples: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images [1, C, H, W] and labels [1] in their own order, fetched in batches."""
    for images, labels, _ in samples.batches(BATCH, shuffle=False):
        yield from zip(torch.split(images, 1), torch.split(labels, 1), strict=True)


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy, all parameters in one vector [n]; zero where there is none."""
    loss = cross_entropy(model(images), labels)
    pieces = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return torch.cat([piece.flatten() for piece in pieces])
