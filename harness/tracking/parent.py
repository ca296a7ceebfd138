"""The parent run of a plan: its question, its ranking, how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.tracking import facts
from harness.tracking.content import NOTE_TAG, PLAN_TAG, Content
from harness.tracking.notes import study_note
from harness.tracking.plan import KEY, StoredPlan
from harness.tracking.results import Results

FILES_TAG = "harness.files"


def parent_content(plan: StoredPlan, results: Results, files: str) -> Content:
    """Return the content of the parent; `files` is the digest of its artifacts.

    Its metrics are the numbers of units of the plan that are done, diverged, failed and waiting to be run.
    """
    states = facts.states_of(results.units)
    counts = Counter(states.get(unit.id) for unit in plan.units)
    failed = facts.failures(results.units, results.failures)
    tags = {
        PLAN_TAG: plan.id,
        NOTE_TAG: study_note(plan.question, results.rankings, results.definitions),
        FILES_TAG: files,
    }
    tags |= facts.versions(results.units)
    return Content(
        key="",
        name=plan.id,
        status=facts.status_of(counts),
        started=facts.started(results.units),
        ended=facts.ended(results.units),
        params={
            **{f"{name}s": _listed(getattr(cell, name) for cell in plan.cells) for name in KEY[:4]},
            "seeds": ", ".join(map(str, sorted({unit.seed for units in plan.cells.values() for unit in units}))),
        },
        metrics={f"units/{state or 'waiting'}": float(counts[state]) for state in ("done", "diverged", "failed", None)},
        tags=tags | ({"failed": facts.few(failed)} if failed else {}),
        datasets=plan.data,
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))
