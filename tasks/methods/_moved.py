"""How far weights have moved."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

TINY = 1e-12
"""Stands for a size of 0: a ratio of 0 to it is 0."""


def relative_change(before: list[Tensor], after: list[Tensor]) -> Tensor:
    """Return ||after - before|| / ||before|| over all tensors together, []; 0 only where nothing has moved."""
    change = torch.stack([vector_norm((new - old).detach().double()) for new, old in zip(after, before, strict=True)])
    size = torch.stack([vector_norm(old.double()) for old in before])
    relative: Tensor = vector_norm(change) / vector_norm(size).clamp(min=TINY)
    return relative
