"""The ranges that the benchmark gives to every optimiser, so that methods compete in the same search space.

Source: Cadet et al. 2024, arXiv 2410.01276: one set of primitives for all 18 methods.
"""

from __future__ import annotations

from typing import Any

from harness.contracts.space import choice, fixed, integer, log_uniform, share_of_training, uniform

SHARE = 0.2
"""Unlearning may take at most this share of the training epochs."""


def learning_rate(default: float) -> Any:
    """Declare a learning rate."""
    return log_uniform(1e-5, 1e-1, default=default)


def weight_decay(default: float) -> Any:
    """Declare a weight decay, or the weight of an L2 term in the loss."""
    return log_uniform(1e-5, 1e-1, default=default)


def momentum(default: float = 0.9) -> Any:
    """Declare a momentum: set by a study, never searched."""
    return fixed(default, most=1)


def batch_size(default: int) -> Any:
    """Declare a batch size; a search draws none above the training batch."""
    return choice(64, 128, 256, default=default, capped=True)


def epochs(default: int) -> Any:
    """Declare a number of passes over a part."""
    return integer(1, share_of_training(SHARE), default=default)


def fractional_epochs(default: float) -> Any:
    """Declare a number of passes that need not be whole."""
    return uniform(1, share_of_training(SHARE), default=default)


def share(default: float) -> Any:
    """Declare a number between 0 and 1: a share, a weight, a deviation."""
    return uniform(0, 1, default=default)


def temperature(default: float) -> Any:
    """Declare the temperature of a softmax, searched from 0 to 5; 0 itself means nothing."""
    return uniform(0, 5, default=default, least=1e-3)
