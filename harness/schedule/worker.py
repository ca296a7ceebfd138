"""The worker as Ray Tune knows it: one Trainable, reused from unit to unit, so that its caches stay warm."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ray import tune

from harness.schedule.demand import Demand
from harness.schedule.performer import Job, Performer

ENDING = "ending"
"""Where in a result of Tune's stands, in a list, what `Performer.perform` says."""


class UnitWorker(tune.Trainable):
    """Performs one unit a step."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the bundle that Tune sets aside for a unit."""
        return tune.PlacementGroupFactory([Demand(config["cpu"], config["gpu"]).bundle()])

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Make ready, once in the life of the process."""
        self._performer = Performer(job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept another unit; what the process has loaded stays."""
        return True

    def step(self) -> dict[str, Any]:
        """Perform the unit of the configuration and say how it ended."""
        ending = self._performer.perform(self.config)
        with suppress(OSError):
            os.rmdir(self.logdir)  # Tune makes one for each unit, on every node
        return {ENDING: [ending], "done": True}  # in a list: of each number that it finds Tune keeps statistics

    def get_auto_filled_metrics(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Add nothing to the result: Tune would send the configuration back, and keep it once more."""
        return {}
