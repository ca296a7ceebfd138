"""The shadow-model farm on Ray actors: a worker trains a shadow and runs every audited method on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ray
from ray.exceptions import RayError

from harness.process.interrupt import Draining
from harness.schedule.backlog import Suggestion
from harness.schedule.bundles import Bundles
from harness.schedule.demand import Capacity, Demand, fits, slots
from harness.schedule.endings import End
from harness.schedule.performer import Job, Performer, configuration

WAIT_SECONDS = 0.2
"""How long the loop waits before it looks up: whether it was asked to stop, whether the cluster has grown."""


@dataclass
class Worker:
    """An actor, what it takes of its node, and the bundle that it goes through."""

    actor: Any
    demand: Demand
    bundle: str | None = None


@dataclass(frozen=True)
class Busy:
    """A unit that runs, or shadows that are trained at once: their worker, their keys in `live`, and since when."""

    worker: Worker
    keys: tuple[str, ...]
    begun: datetime


@dataclass
class FarmLoop:
    """Keeps one actor busy for each place that the cluster has; `live` are the units that run, by a key of their own.

    `settle` hears of each end; `nodes()` says what the cluster has now.
    """

    bundles: Bundles
    nodes: Callable[[], Sequence[Capacity]]
    job: Job
    draining: Draining
    heartbeat: Callable[[], None]
    live: dict[str, Suggestion] = field(default_factory=dict)
    _idle: list[Worker] = field(default_factory=list)
    _busy: dict[Any, Busy] = field(default_factory=dict)
    _begun: int = 0

    def run(self, settle: Callable[[End], None]) -> None:
        """Run until no unit can begin and none runs; asked to stop, begin nothing more. The actors are gone then."""
        try:
            while self._begin() or self._busy:
                ended, _ = ray.wait(list(self._busy), num_returns=1, timeout=WAIT_SECONDS)
                for reference in ended:
                    for end in self._end(reference):
                        settle(end)
                self._end_late_ones()
                self.heartbeat()
        finally:
            for worker in (*self._idle, *(busy.worker for busy in self._busy.values())):
                ray.kill(worker.actor)

    def _begin(self) -> bool:
        """Begin as many units as there are places; return whether any began."""
        before, nodes = self._begun, self.nodes()
        while not self.draining.begins_nothing:
            own = self._idle[-1].bundle if self._idle else None
            found = self.bundles.take(own, lambda demand: self._has_place(demand, nodes))
            if found is None:
                break
            self._start(*found, nodes)
        return self._begun > before

    def _has_place(self, demand: Demand, nodes: Sequence[Capacity]) -> bool:
        """Say whether the cluster holds one more; it is asked to grow for the first."""
        return not self._busy or fits([demand, *(busy.worker.demand for busy in self._busy.values())], nodes)

    def _start(self, bundle: str, suggestion: Suggestion, nodes: Sequence[Capacity]) -> None:
        demand = suggestion.demand
        worker = self._worker(demand)
        worker.bundle = bundle
        together = {}
        for one in self.bundles.join(suggestion, max(1, slots(demand, nodes))):
            self._begun += 1
            together[f"farm-{self._begun}"] = one
        self.live |= together
        tasks = [configuration(one) for one in together.values()]
        actor = worker.actor
        reference = actor.perform.remote(*tasks) if len(tasks) == 1 else actor.perform_together.remote(tasks)
        self._busy[reference] = Busy(worker, tuple(together), datetime.now(UTC))

    def _worker(self, demand: Demand) -> Worker:
        """Return an idle worker, or a new one; those that have another share make room for it."""
        while self._idle:
            worker = self._idle.pop()
            if worker.demand == demand:
                return worker
            ray.kill(worker.actor)
        actor = ray.remote(Performer).options(
            num_cpus=demand.cpu, num_gpus=demand.gpu, max_restarts=0, max_task_retries=0
        )
        return Worker(actor.remote(self.job), demand)

    def _end_late_ones(self) -> None:
        """Kill the workers that should have ended."""
        for busy in self._busy.values():
            if self.job.is_late(busy.begun, len(busy.keys)):
                ray.kill(busy.worker.actor)

    def _end(self, reference: Any) -> list[End]:
        count, busy = len(self._busy), self._busy.pop(reference)
        try:
            result, error = ray.get(reference), ""
            self._idle.append(busy.worker)
        except RayError as lost:  # the actor is gone, and the next unit gets a new one
            result, error = None, str(lost)
        if len(busy.keys) == 1:
            return [End(*busy.keys, result, error, busy.begun, count)]
        if not result:  # none was trained, or nobody knows which
            self.bundles.divide([self.live.pop(key) for key in busy.keys], for_good=result is not None)
            return []
        return [End(key, own, "", busy.begun, count) for key, own in zip(busy.keys, result, strict=True)]
