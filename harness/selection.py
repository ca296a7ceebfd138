"""Which units of a plan to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import HarnessError, did_you_mean
from harness.planner import Plan, with_needs
from harness.unit import Unit


class NothingMatches(HarnessError):
    """No unit of the plan is one that was asked for."""


@dataclass(frozen=True)
class Selection:
    """Which units of a plan to run: columns that must match, at most `limit` of them (0: all), of the ids in `only`."""

    where: Mapping[str, str] = field(default_factory=dict)
    limit: int = 0
    only: frozenset[str] | None = None

    def choose(self, plan: Plan, remaining: Sequence[Unit]) -> list[Unit]:
        """Return the chosen units that remain, and those that they need.

        Raises `NothingMatches` where the plan has no such unit at all, run or not.
        """
        if not any(map(self._matches, plan.units.values())):
            raise NothingMatches(self._nothing(plan))
        chosen = list(filter(self._matches, remaining))
        chosen = chosen[: self.limit] if self.limit else chosen
        wanted = {unit.id for unit in with_needs(plan, chosen)}
        return [unit for unit in remaining if unit.id in wanted]

    def _matches(self, unit: Unit) -> bool:
        if self.only is not None and unit.id not in self.only:
            return False
        return all(str(unit.columns()[column]) == value for column, value in self.where.items())

    def _nothing(self, plan: Plan) -> str:
        """Say which value no unit has; where each is there for itself, that they do not go together."""
        if self.only is not None:
            return f"no unit of {plan.id} is among the {len(self.only)} that were asked for"
        for column, value in self.where.items():
            there = {str(unit.columns()[column]) for unit in plan.units.values()}
            if value not in there:
                return f"no unit of {plan.id} has {column}={value}{did_you_mean(value, there)}"
        together = " and ".join(f"{column}={value}" for column, value in self.where.items())
        return f"no unit of {plan.id} has {together} at once"
