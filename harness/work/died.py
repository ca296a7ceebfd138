"""The rows of a unit whose process died: somebody else writes them."""

from __future__ import annotations

from datetime import UTC, datetime

import torch

from harness.errors import HarnessError
from harness.process.deaths import Death
from harness.unit import Unit
from harness.work.bench import Results, Workbench
from harness.work.rows import Attempt, failure_rows

PHASE = "worker"
"""The phase of such a failure: nobody can know how far the unit was."""


def commit_death(
    store: Results, unit: Unit, attempt: int, death: Death, *, device: str, share: float, started: datetime
) -> None:
    """Commit a failed attempt in place of its worker."""
    tried = Attempt(unit, Workbench(store, torch.device("cpu")), attempt, PHASE, started)
    rows = failure_rows(tried, HarnessError(death.message))
    seconds = (datetime.now(UTC) - started).total_seconds()
    rows["units"][0] |= {"seconds": seconds, "device": device, "share": share, "host": None}
    rows["failures"][0] |= {"exception": death.exception, "traceback": death.cause[-20000:], "host": None}
    store.commit_failure(unit.id, attempt, rows)
