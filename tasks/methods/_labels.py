"""Which classes an image to forget may be taken for instead of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.contracts import View
from harness.errors import HarnessError


class NoClassLeft(HarnessError):
    """A request that leaves an image no class that it may be taken for."""


def other_classes(data: View, *, beyond_request: bool = True) -> Tensor:
    """Return for every forget image which classes [n, C] are open to it: not its own, and none of the request.

    With `beyond_request` false the request's other classes stay open. Raises `NoClassLeft` where that is no class.
    """
    labels = data.forget.labels
    is_open = torch.ones(len(labels), data.classes, dtype=torch.bool, device=labels.device)
    is_open.scatter_(1, labels[:, None], value=False)
    if beyond_request:
        is_open[:, list(data.forget_classes)] = False
    if not is_open.any(1).all():
        raise NoClassLeft(
            f"method {data.method!r} gives images to forget another class, but the request leaves none of the "
            f"{data.classes} classes; forget fewer"
        )
    return is_open
