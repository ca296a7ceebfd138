"""The units of a farm by the shadow that they need: what one worker goes through while it keeps that shadow warm."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from harness.process.deaths import MOST_TRIES
from harness.schedule.backlog import Suggestion
from harness.schedule.demand import Demand
from harness.schedule.packing import Packing
from harness.stacks import Stacks
from harness.unit import Kind, Unit


class Bundles:
    """The units of a farm that have not begun. A shadow and all that is done to it is a bundle; so is each retrain.

    A worker takes a bundle whole and goes through it in order. Once every bundle is taken, an idle worker helps with
    the longest whose shadow is trained. A unit whose shadow failed stays here: it is still to be run. `resolve` fills
    in the hyperparameters that a search has chosen. How many shadows a worker trains at once, `packing` says.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        attempts: Mapping[str, int],
        resolve: Callable[[Unit], Unit] = lambda unit: unit,
        packing: Packing | None = None,
    ) -> None:
        self._resolve, self._packing = resolve, packing or Packing(Demand(1.0))
        self._units = {unit.id: unit for unit in units}
        self._attempts, self._tries = Counter(attempts), Counter[str]()
        self._before = {unit for unit, number in attempts.items() if number}
        self._shadows = sum(unit.kind == Kind.SHADOW for unit in units)
        self._stacks = Stacks(self._packing.together, self._before.__contains__)
        self._bundles: dict[str, deque[str]] = {}
        for unit in units:
            self._bundles.setdefault(self._bundle_of(unit.id), deque()).append(unit.id)
        self._waiting = deque(self._bundles)
        self._trained = {bundle for bundle in self._bundles if bundle not in self._units}

    def take(
        self, own: str | None, has_place: Callable[[Demand], bool] = lambda demand: True
    ) -> tuple[str, Suggestion] | None:
        """Return a bundle and the next unit of it, from the bundle `own` of a worker if it can; None if none can, or
        the next has no place."""
        bundle = own if own is not None and self._can_go_on(own) else self._another()
        if bundle is None or not has_place(self._packing.demand(self._next(bundle))):
            return None
        if self._waiting and self._waiting[0] == bundle:
            self._waiting.popleft()
        return bundle, self._begin(bundle)

    def join(self, first: Suggestion, places: int) -> list[Suggestion]:
        """Return what was taken, and other shadows that its worker trains at the same time.

        Where the cluster has so many places, that is no more than its share of all shadows. The worker goes on with
        the first of them; whoever is idle takes the others up.
        """
        if self._packing.together == 1 or first.unit.kind != Kind.SHADOW:
            return [first]
        heads = [self._bundles[bundle][0] for bundle in self._waiting if self._bundles[bundle]]
        waiting = [unit for unit in map(self._units.__getitem__, heads) if unit.kind == Kind.SHADOW]
        joined = self._stacks.join(first.unit, waiting, -(-self._shadows // places))[1:]
        for unit in joined:
            self._waiting.remove(unit.id)
        return [first, *(self._begin(unit.id) for unit in joined)]

    def divide(self, suggestions: Sequence[Suggestion], *, for_good: bool) -> None:
        """Put back shadows that were not trained at once: each goes by itself now, `for_good` all others like them."""
        for one in suggestions:
            unit = one.unit.id
            self._attempts[unit] -= 1
            self._tries[unit] -= 1
            self._before.add(unit)
            self._bundles[unit].appendleft(unit)
            self._waiting.append(unit)
            if for_good:
                self._stacks.divide(one.unit)

    def finished(self, unit: str) -> None:
        """Note that a unit has its result: after a shadow, all that is done to it can begin."""
        self._trained.add(unit)

    def failed(self, unit: str) -> None:
        """What needs the unit stays here."""

    def again(self, unit: str) -> bool:
        """Put back a unit that was begun and came to nothing; return False if it had all its tries."""
        if self._tries[unit] >= MOST_TRIES:
            return False
        bundle = self._bundle_of(unit)
        self._before.add(unit)
        self._bundles[bundle].appendleft(unit)
        self._waiting.append(bundle)
        return True

    def _next(self, bundle: str) -> Unit:
        return self._resolve(self._units[self._bundles[bundle][0]])

    def _begin(self, bundle: str) -> Suggestion:
        unit, identity = self._next(bundle), self._bundles[bundle].popleft()
        self._attempts[identity] += 1
        self._tries[identity] += 1
        return Suggestion(unit, self._attempts[identity], self._tries[identity], self._packing.demand(unit))

    def _bundle_of(self, unit: str) -> str:
        return next(iter(self._units[unit].needs), unit)

    def _can_go_on(self, bundle: str) -> bool:
        """Whether the next unit can begin: it begins the bundle, or the shadow is trained."""
        left = self._bundles[bundle]
        return bool(left) and (left[0] == bundle or bundle in self._trained)

    def _another(self) -> str | None:
        while self._waiting:
            if self._can_go_on(self._waiting[0]):
                return self._waiting[0]
            self._waiting.popleft()
        under_way = [bundle for bundle in self._bundles if self._can_go_on(bundle)]
        return max(under_way, key=lambda bundle: len(self._bundles[bundle]), default=None)
