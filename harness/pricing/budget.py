"""How many device-hours a run may use."""

from __future__ import annotations

from dataclasses import dataclass

HOUR = 3600.0


@dataclass
class Budget:
    """The hours of whole devices that a run may use, and has used: a unit on a quarter of a GPU uses a quarter of its
    time, one on a CPU all of it. What has begun is finished, so that a little more is used than `hours`."""

    hours: float = float("inf")
    used: float = 0.0

    def spend(self, seconds: float, share: float = 1.0) -> None:
        """Take note of an attempt that took so long on this share of a device."""
        self.used += seconds * share / HOUR

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more is to begin."""
        return self.used >= self.hours
