"""How long a study takes on so many workers, and what limits it: list scheduling of its units by their prices."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.planner import begin_order, stage
from harness.search.gates import Gate, Gates
from harness.unit import Unit

DRIVER_SECONDS = 0.015
"""What a driver may need for one unit: the limit that the benchmark of scheduling holds it to."""

Limit = Literal["work", "needs", "timing", "driver"]


@dataclass
class Tasks:
    """Some tasks by number: the seconds of each (None: it only waits, and takes no worker), and who waits for it.

    What could begin at once begins in the order of `rank`.
    """

    seconds: list[float | None]
    rank: list[int]
    needs: list[int] = field(default_factory=list)
    """How many tasks each waits for."""
    waiting: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.needs = [0] * len(self.seconds)
        self.waiting = [[] for _ in self.seconds]

    def after(self, task: int, need: int) -> None:
        """Let a task wait for another."""
        self.needs[task] += 1
        self.waiting[need].append(task)


def list_schedule(tasks: Tasks, workers: int) -> float:
    """Return the seconds until all tasks are done: whenever a worker is free, the first task that can begin does."""
    seconds, rank, missing = tasks.seconds, tasks.rank, list(tasks.needs)
    ready: list[tuple[int, int]] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    pending = [task for task, count in enumerate(missing) if not count]
    while True:
        while pending:
            task = pending.pop()
            if seconds[task] is not None:
                heapq.heappush(ready, (rank[task], task))
                continue
            pending += _released(tasks, task, missing)
        while ready and len(running) < workers:
            task = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + (seconds[task] or 0.0), task))
        if not running:
            return now
        now = running[0][0]
        while running and running[0][0] == now:
            pending += _released(tasks, heapq.heappop(running)[1], missing)


def longest_chain(tasks: Tasks) -> float:
    """Return the seconds of the longest chain of tasks that wait for each other: no number of workers is faster."""
    missing = list(tasks.needs)
    begin = [0.0] * len(missing)
    pending = [task for task, count in enumerate(missing) if not count]
    longest = 0.0
    while pending:
        task = pending.pop()
        end = begin[task] + (tasks.seconds[task] or 0.0)
        longest = max(longest, end)
        for later in tasks.waiting[task]:
            begin[later] = max(begin[later], end)
        pending += _released(tasks, task, missing)
    return longest


def _released(tasks: Tasks, task: int, missing: list[int]) -> list[int]:
    """Note that a task is done; return those that wait for nothing any more."""
    found = []
    for later in tasks.waiting[task]:
        missing[later] -= 1
        if not missing[later]:
            found.append(later)
    return found


@dataclass(frozen=True)
class Makespan:
    """What a study takes on so many workers, in seconds: in all, its longest chain of needs, its work divided by the
    workers, and its timing units, which run one at a time; `per_unit` is what the driver has for each unit while the
    others run, or None where there are none. `limit` says which of these keeps it from being faster.
    """

    workers: int
    seconds: float
    chain: float
    work: float
    timing: float
    per_unit: float | None
    limit: Limit


class Stages:
    """The units that are to run, in the stages in which they run: trials, the farm, then timing one at a time.

    A shadow comes before what is done to others, where workers go from one to the next; that differs at the end alone.
    """

    def __init__(self, units: Sequence[Unit], seconds: Mapping[str, float]) -> None:
        self._timing = sum(seconds[unit.id] for unit in units if stage(unit.kind) == 2)
        together = [[unit for unit in units if stage(unit.kind) == number] for number in (0, 1)]
        self._tasks = [_tasks(some, seconds) for some in together if some]
        self._units = sum(map(len, together))
        self._work = sum(seconds[unit.id] for some in together for unit in some)
        self._chain = sum(map(longest_chain, self._tasks))

    def on(self, workers: int) -> Makespan:
        """Return how long they take on so many workers."""
        together = sum(list_schedule(tasks, workers) for tasks in self._tasks)
        work = self._work / workers
        per_unit = together / self._units if self._units else None
        if per_unit is not None and self._timing < together and per_unit < DRIVER_SECONDS:
            limit: Limit = "driver"
        elif self._timing >= together:
            limit = "timing"
        else:
            limit = "work" if work >= self._chain else "needs"
        return Makespan(workers, together + self._timing, self._chain, work, self._timing, per_unit, limit)


def _tasks(units: Sequence[Unit], seconds: Mapping[str, float]) -> Tasks:
    """Return the units of a stage as tasks, and the gates of searches among them behind those."""
    gates = Gates(units)
    order = begin_order(units, gates)
    number = {unit.id: at for at, unit in enumerate(units)}
    awaited: dict[Gate, list[int]] = defaultdict(list)
    for unit in units:
        for gate in gates.closed_before(unit.id):
            awaited[gate].append(number[unit.id])
    tasks = Tasks([*(seconds[unit.id] for unit in units), *[None] * len(awaited)], [order[unit.id] for unit in units])
    for unit in units:
        for need in unit.comes_after:
            if need in number:
                tasks.after(number[unit.id], number[need])
    for task, (gate, waiting) in enumerate(awaited.items(), len(units)):
        for holder in gates.holding(gate):
            tasks.after(task, number[holder])
        for waiter in waiting:
            tasks.after(waiter, task)
    return tasks
