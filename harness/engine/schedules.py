"""Factors of the learning rate that PyTorch has no scheduler for."""

from __future__ import annotations


def step_decay(epoch: int, epochs: int, decay: float) -> float:
    """Return `decay` to the number of thresholds below an epoch: int(0.5 E), int(0.8 E) and int(0.9 E) of E epochs.

    Source: Kurmanji et al. 2023, arXiv 2302.09880, as released; SCRUB counts its epochs from 1, CF-k from 0.
    """
    return decay ** sum(int(share * epochs) < epoch for share in (0.5, 0.8, 0.9))
