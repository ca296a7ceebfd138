"""What has ended in a run: counted, told, and folded from commits into tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from harness.planner import Plan
from harness.pricing.budget import Budget
from harness.store import Lease, Store, StoreError, UnknownPlan
from harness.unit import Unit, keeps_model
from harness.views import Written
from harness.work.unit import Status

FOLD_UNITS, FOLD_SECONDS = 1000, 60.0
"""A fold leaves a part of each table, and whoever reads a root checks every part, 2 ms each; until then each commit is
read by itself, 1 ms each."""


class Progress(Protocol):
    """Who is told how a run goes; `harness.cli.progress` draws it."""

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None:
        """The plan is known, what of it is to run now, and how many of its units were found finished."""

    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        """A unit has ended after so many seconds; `busy` units were running then, itself included."""

    def beat(self) -> None:
        """Units run, and none need have ended; called several times a second, but not in one process."""

    def finish(self) -> None:
        """Nothing more will be told."""


class Silent:
    """Tell nobody."""

    def begin(self, plan: Plan, to_run: Sequence[Unit], cached: int) -> None: ...
    def ended(self, unit: Unit, status: Status, seconds: float, busy: int) -> None: ...
    def beat(self) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class Summary:
    """How a run ended: units by status in this run, units found finished, units not tried, seconds of wall time, and
    what was used of its budget; how often workers had a data set, a split or weights already (`reused`) and how often
    not (`loaded`)."""

    plan: Plan
    ran: Mapping[Status, int]
    cached: int
    not_tried: int
    failed: tuple[Unit, ...]
    seconds: float
    views: Written | None = None
    budget: Budget = field(default_factory=Budget)
    reused: int = 0
    loaded: int = 0

    @property
    def complete(self) -> bool:
        """Whether every unit of the plan has a result."""
        return not self.failed and not self.not_tried


class Ledger:
    """What has ended in this run; folds commits into tables as they come."""

    def __init__(self, plan: Plan, store: Store, lease: Lease, progress: Progress) -> None:
        self.plan, self.store, self.lease, self.progress = plan, store, lease, progress
        committed = store.committed()
        self.cached = len(plan.units.keys() & committed)
        self._open = plan.units.keys() - committed
        self._to_look: Counter[str] = Counter()
        self.ran: Counter[Status] = Counter()
        self.failed: list[Unit] = []
        self.reused = self.loaded = 0
        self._elsewhere: dict[str, frozenset[str]] = {}
        self._unfolded: set[str] = set()
        self._folded_at = time.monotonic()

    @contextmanager
    def running(self, units: Sequence[Unit]) -> Iterator[None]:
        """Fold what the units of a block leave, also when it is interrupted; a root that fails is left as it is."""
        self.progress.begin(self.plan, units, self.cached)
        # Also what is made again, because its weights are gone, starts from weights that must be there until then.
        still = dict.fromkeys([*self._open, *(unit.id for unit in units)])
        self._to_look = Counter(trial for key in still for trial in self._looks_at(self.plan.units[key]))
        self._folded_at = time.monotonic()
        try:
            yield
        except StoreError:
            self.progress.finish()
            raise
        except BaseException:
            self._tidy_up()
            raise
        self._tidy_up()

    def _tidy_up(self) -> None:
        self.progress.finish()
        self.store.fold(self.plan.units)
        self.drop_models()

    def note(self, unit: Unit, status: Status, seconds: float, busy: int) -> None:
        """Count a unit that ended after so many seconds, while `busy` ran; fold every `FOLD_UNITS` or `FOLD_SECONDS`.

        What has ended, but was not told of yet, is not folded: who is told of it reads its commit.
        """
        self.progress.ended(unit, status, seconds, busy)
        self.ran[status] += 1
        if status == "failed":
            self.failed.append(unit)
        else:
            self._looked_at(unit)
        self._unfolded.add(unit.id)
        self.lease.beat()
        now = time.monotonic()
        if len(self._unfolded) >= FOLD_UNITS or now - self._folded_at >= FOLD_SECONDS:
            self.store.fold(self._unfolded)
            self._unfolded, self._folded_at = set(), now

    def note_warmth(self, reused: int, loaded: int) -> None:
        """Count what workers had already, and what not."""
        self.reused += reused
        self.loaded += loaded

    def beat(self) -> None:
        """Show others that this driver lives, and whoever looks on that it works."""
        self.lease.beat()
        self.progress.beat()

    def _looks_at(self, unit: Unit) -> list[str]:
        """Return the trials whose weights a unit looks at or starts from."""
        return [need for need in dict.fromkeys(unit.comes_after) if self.plan.units[need].started_from]

    def _looked_at(self, unit: Unit) -> None:
        """Drop the weights of trials with the last unit that looks at them: a study may have thousands of trials."""
        for trial in self._looks_at(unit):
            self._to_look[trial] -= 1
            if self._to_look[trial] <= 0:
                self._drop_model(self.plan.units[trial])

    def drop_models(self) -> None:
        """Weights that the study does not keep go as soon as no unit of the plan needs them any more."""
        still = {need for unit in self.plan.remaining(self.store.committed(), ()) for need in unit.comes_after}
        for unit in self.store.models() & self.plan.units.keys():
            if self.plan.units[unit].is_start and unit not in still:
                self._drop_model(self.plan.units[unit])

    def _drop_model(self, unit: Unit) -> None:
        """Drop weights, unless the study keeps them or another one that runs now may need them."""
        if not keeps_model(unit, self.plan.study.keep_models):
            self.store.drop_model_unless(lambda plan: plan != self.plan.id and unit.id in self._units_of(plan), unit.id)

    def _units_of(self, plan_id: str) -> Set[str]:
        """Return the units of another study of this root; those of one that has not yet said are this study's."""
        if plan_id not in self._elsewhere:
            try:
                document = self.store.read_plan(plan_id)
            except UnknownPlan:
                return self.plan.units.keys()
            self._elsewhere[plan_id] = frozenset(unit["id"] for unit in document["units"])
        return self._elsewhere[plan_id]

    def summary(self, units: Sequence[Unit], seconds: float, views: Written | None, budget: Budget) -> Summary:
        """Return how the run ended."""
        ended = sum(self.ran.values())
        not_tried = len(units) - ended
        failed = tuple(self.failed)
        counted = dict(self.ran), self.cached, not_tried, failed, seconds
        return Summary(self.plan, *counted, views, budget, self.reused, self.loaded)
