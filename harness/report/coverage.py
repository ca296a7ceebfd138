"""How much of a study is in: trials, what else is still to come, and who has no rank because of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from harness.ranking import merge_searches
from harness.report.answer import names
from harness.report.numbers import several
from harness.report.roster import Competitor, Entry, Roster, competitors

TRIALS = ("search", "unlearn")
FARM = ("shadow", "shadow_retrain", "shadow_unlearn")
OTHERS = {
    "original": "original",
    "retrain": "retrain",
    "artifact": "artifact",
    "relearn": "relearning",
    "attack": "attack",
    "compare": "comparison",
    "probe": "probe",
    "timing": "timing",
}


@dataclass(frozen=True)
class Part:
    """Some units of a plan: how many there are, how many ended with a result, how many failed so far."""

    planned: int
    done: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether all of them have a result."""
        return self.done == self.planned


@dataclass(frozen=True)
class Coverage:
    """The trials of a plan, the units of its farm, the others by kind, and who is still waited for."""

    trials: Part
    farm: Part
    others: dict[str, Part]
    awaited: frozenset[Competitor]

    @property
    def complete(self) -> bool:
        """Whether every unit of the plan has a result."""
        return all(part.complete for part in (self.trials, self.farm, *self.others.values()))

    @property
    def final(self) -> bool:
        """Whether nothing more can come without another attempt: every unit has a result or failed."""
        return all(part.done + part.failed == part.planned for part in (self.trials, self.farm, *self.others.values()))


def coverage(planned: pl.DataFrame, units: pl.DataFrame) -> Coverage | None:
    """Return how much of a plan is in, None where the plan is not known.

    `planned` has the schema `harness.report.data.PLANNED`, `units` is that table. A diverged model is a result.
    """
    if planned.is_empty():
        return None
    status = units.select("unit", "status").unique("unit", keep="last")
    rows = planned.join(status, on="unit", how="left")
    others = {name: part for kind, name in OTHERS.items() if (part := _part(rows, [kind])).planned}
    open_trials = rows.filter(pl.col("status").is_null(), pl.col("kind") == "unlearn")
    return Coverage(_part(rows, TRIALS), _part(rows, FARM), others, frozenset(competitors(merge_searches(open_trials))))


def _part(rows: pl.DataFrame, kinds: Sequence[str]) -> Part:
    own = rows.filter(pl.col("kind").is_in(list(kinds)))["status"]
    return Part(len(own), int(own.is_in(["done", "diverged"]).sum()), int((own == "failed").sum()))


def coverage_note(found: Coverage, roster: Roster) -> Markup:
    """Return what of a study is in, in sentences: trials, methods without a rank, what else is to come."""
    trials = found.trials
    failed = f", {trials.failed} failed" if trials.failed else ""
    text = f"All {several(trials.planned, 'trial')}" if trials.complete else f"{trials.done} of {trials.planned} trials"
    sentences = [Markup("{} done{}.").format(text, failed)]
    waiting = unranked(found, roster)
    if waiting:
        sentences.append(Markup("{} not ranked yet: {}.").format(several(len(waiting), "method"), names(waiting)))
    if to_come := [
        f"{part.planned - part.done} of {several(part.planned, name)}"
        for name, part in found.others.items()
        if not part.complete
    ]:
        sentences.append(Markup("Without a result: {}.").format(", ".join(to_come)))
    if not found.farm.complete:
        sentences.append(Markup(farm_sentence(found)))
    return Markup(" ").join(sentences)


def farm_sentence(found: Coverage) -> str:
    """Return how much of the farm is in, and what follows."""
    farm = found.farm
    failed = f" ({farm.failed} failed)" if farm.failed else ""
    return (
        f"The farm of the audit is not done: {farm.done} of {farm.planned} units{failed}; the audit may still change."
    )


def unranked(found: Coverage, roster: Roster) -> list[Entry]:
    """Return the methods that have no rank, did not fail, and have trials that were not run."""
    return [entry for entry in roster.of_status("missing") if entry.competitor in found.awaited]
