"""Losses that compare two models."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(teacher / T) || softmax(student / T)), the mean over a batch of logits [B, C].

    Source: Hinton et al. 2015, arXiv 1503.02531, without its factor T^2.
    """
    wanted = log_softmax(teacher / temperature, dim=1)
    found = log_softmax(student / temperature, dim=1)
    return kl_div(found, wanted, reduction="batchmean", log_target=True)
