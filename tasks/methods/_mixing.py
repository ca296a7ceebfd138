"""Batches of real images and made ones in one shuffled order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.contracts import Samples


def mixed_batches(
    samples: Samples, made: Tensor, labels: Tensor, size: int, generator: torch.Generator, copies: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of one pass over samples and `copies` of all made images [n, C, H, W] with labels [n].

    Batches are of even size, at most `size`, made images first; nothing is augmented.
    """
    count = len(samples) + copies * len(made)
    order = torch.randperm(count, generator=generator)  # stays on the CPU: what is sorted out here waits for no device
    for chosen in order.tensor_split(max(1, math.ceil(count / size))) if count else ():
        unreal = chosen[chosen >= len(samples)].sub(len(samples)) % max(1, len(made))
        images, targets = [made[unreal]], [labels[unreal]]
        real = samples.take(chosen[chosen < len(samples)])
        for batch in real.batches(max(1, len(real)), shuffle=False):
            images.append(batch.images)
            targets.append(batch.labels)
        yield torch.cat(images), torch.cat(targets)
