"""Endless batches, some images of each class, and what to do where there is no image to forget."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch

from harness.contracts import Batch, Samples, View


def endless(samples: Samples, size: int) -> Iterator[Batch]:
    """Yield pass after pass over one or more samples, each in a random order of its own."""
    while True:
        yield from samples.batches(size)


def nothing_to_forget(data: View) -> bool:
    """Return whether the request is empty; a warning then says that the model is the original."""
    if len(data.forget):
        return False
    warnings.warn(f"{data.method}: the model is the original: there is no image to forget", stacklevel=2)
    return True


def sample_of_each_class(samples: Samples, forget: list[int], count: int, generator: torch.Generator) -> Samples:
    """Return up to `count` random samples of every class that is not to be forgotten."""
    order = torch.randperm(len(samples), generator=generator)
    labels = samples.labels.cpu()[order]
    classes = sorted(set(labels.tolist()) - set(forget))
    return samples.take(torch.cat([order[labels == label][:count] for label in classes]))
