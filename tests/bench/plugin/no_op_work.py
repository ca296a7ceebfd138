"""The work of units that do nothing: a worker commits what a trial leaves, without the trial.

Importing this replaces the work of every unit in the process.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import nn

from harness.engine.evaluate import Evaluation
from harness.schedule import performer
from harness.unit import Unit
from harness.work import Workbench
from harness.work.kinds import Outcome
from harness.work.rows import Attempt, result_rows
from harness.work.unit import Status

EVALUATED = ("retain", "forget", "val", "test")
MODEL = nn.Linear(4, 4)


def perform(unit: Unit, bench: Workbench, attempt: int = 1, *more: Any) -> Status:
    """Commit what a trial commits, with numbers that its id determines."""
    digits = np.frombuffer(hashlib.sha256(unit.id.encode()).digest(), np.uint8)
    evaluations = {
        part: Evaluation(digits[:20] / 255.0, digits[at : at + 20] > 64) for at, part in enumerate(EVALUATED)
    }
    numbers = {("val", "population_mia"): digits[20] / 255.0, ("test", "population_mia"): digits[21] / 255.0}
    outcome = Outcome(MODEL, 0.0, 0, evaluations, numbers=numbers)
    digest = bench.store.save_model(unit.id, MODEL.state_dict()) if unit.is_start else None
    bench.store.commit(unit.id, result_rows(Attempt(unit, bench, attempt), outcome, digest))
    return "done"


performer.perform = perform  # type: ignore[assignment]
