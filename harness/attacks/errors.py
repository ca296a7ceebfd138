"""What the attacks refuse to work on."""

from __future__ import annotations

from harness.errors import HarnessError


class AttackError(HarnessError):
    """Arrays or names that an attack cannot work with."""


class NonFiniteLossError(AttackError):
    """Losses of a diverged model: the population attack has no value, and the caller stores null."""
