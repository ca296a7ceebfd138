"""What becomes of a unit that ended: a result, a failure, or another try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError
from harness.process.deaths import Death

if TYPE_CHECKING:
    from harness.schedule.backlog import Suggestion
    from harness.schedule.packing import Packing
    from harness.store import Store
    from harness.unit import Unit
    from harness.work.unit import Status


class WorkerUnfit(HarnessError):
    """A worker has started but cannot work: a plug-in, a device or the root is missing on its node."""


@dataclass(frozen=True)
class WorkerInfo:
    """Where a unit ended and after how many seconds; `busy` units were running then, itself included.

    Of the data sets, splits and weights that it asked for, its worker had `reused` already, and `loaded` not. Host and
    process are None where the worker died.
    """

    host: str | None
    pid: int | None
    seconds: float
    busy: int
    reused: int = 0
    loaded: int = 0


Report = Callable[["Unit", "Status", WorkerInfo], None]


@dataclass(frozen=True)
class End:
    """The end of one try: what the worker said of it, or None and Ray's error if it died."""

    trial: str
    result: Mapping[str, Any] | None
    error: str
    begun: datetime
    busy: int


class Queue(Protocol):
    """What has not begun: hears of each end, and takes back what came to nothing unless it had all its tries."""

    def finished(self, unit: str) -> None: ...
    def failed(self, unit: str) -> None: ...
    def again(self, unit: str) -> bool: ...


class Live(Protocol):
    """What was suggested and has not ended, by the id of its trial."""

    live: dict[str, Suggestion]


@dataclass(frozen=True)
class Endings:
    """Settles each end: commits what no worker could, puts back what deserves another try, reports the rest.

    `why` says why a worker died. `packing` hears what each unit needed of its device.
    """

    backlog: Queue
    feed: Live
    packing: Packing
    store: Store
    device: str
    why: Callable[[Suggestion, End], Death]
    report: Report

    def settle(self, end: End) -> None:
        """Take note of one end.

        Raises `WorkerUnfit`, `RootNotWritable` where a worker found the root so, what the store raises, and what
        `report` raises.
        """
        suggestion = self.feed.live.pop(end.trial)
        if end.result is None:
            self._died(suggestion, end)
        elif "unfit" in end.result:
            raise WorkerUnfit(f"a worker on {end.result['host']} cannot work: {end.result['unfit']}")
        elif "root" in end.result:
            from harness.store import RootNotWritable

            raise RootNotWritable(f"{end.result['root']} (so says a worker on {end.result['host']})")
        else:
            self._ended(suggestion, end, end.result)

    def _died(self, suggestion: Suggestion, end: End) -> None:
        seconds = (datetime.now(UTC) - end.begun).total_seconds()
        if status := self._written(suggestion):
            self._ended(suggestion, end, {"status": status, "host": None, "pid": None, "seconds": seconds})
            return
        death = self.why(suggestion, end)
        self._commit(suggestion, death, end)
        if death.final or not self._again(suggestion):
            self.backlog.failed(suggestion.unit.id)
            self.report(suggestion.unit, "failed", WorkerInfo(None, None, seconds, end.busy))

    def _written(self, suggestion: Suggestion) -> Status | None:
        """Return how an attempt ended whose worker has died, but not before it had committed that."""
        import polars as pl

        is_it = (pl.col("unit") == suggestion.unit.id) & (pl.col("attempt") == suggestion.attempt)
        found = self.store.scan("units").filter(is_it).select("status").collect()["status"]
        return found[0] if len(found) else None

    def _ended(self, suggestion: Suggestion, end: End, result: Mapping[str, Any]) -> None:
        unit, status = suggestion.unit, result["status"]
        if "uncommitted" in result:
            self._commit(suggestion, Death(**result["uncommitted"]), end)
        # Its neighbours may have had the memory: with a bigger share there are fewer of them.
        shared = suggestion.demand.gpu < 1
        if result.get("out_of_memory") and shared and self._again(suggestion, full=True):
            return
        if status == "failed":
            self.backlog.failed(unit.id)
        else:
            self.packing.learn(unit, result.get("memory"))
            self.backlog.finished(unit.id)
        warm = (result.get("reused", 0), result.get("loaded", 0))
        self.report(unit, status, WorkerInfo(result["host"], result["pid"], result["seconds"], end.busy, *warm))

    def _again(self, suggestion: Suggestion, *, full: bool = False) -> bool:
        """Put a unit back; return False if it had all its tries."""
        if not self.backlog.again(suggestion.unit.id):
            return False
        self.packing.came_back(suggestion.unit, suggestion.demand, full=full)
        return True

    def _commit(self, suggestion: Suggestion, death: Death, end: End) -> None:
        from harness.work.died import commit_death

        commit_death(
            self.store,
            suggestion.unit,
            suggestion.attempt,
            death,
            device=self.device,
            share=suggestion.demand.gpu or 1.0,
            started=end.begun,
        )
