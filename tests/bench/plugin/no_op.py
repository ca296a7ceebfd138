"""Units that do nothing, for measuring what surrounds them: a worker commits what a trial leaves, without the trial.

Importing this replaces the work of every unit in the process. Eighteen methods with three hyperparameters each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np
from torch import nn

from harness.contracts import Images, Recipe, Run, View, dataset, method, uniform
from harness.engine.evaluate import Evaluation
from harness.schedule import performer
from harness.unit import KeepModels, Unit
from harness.work import Workbench
from harness.work.kinds import Outcome
from harness.work.rows import Attempt, result_rows
from harness.work.unit import Status

CLASSES, IMAGES, DEVELOPMENT, METHODS = 4, 120, 90, 18
EVALUATED = ("retain", "forget", "val", "test")
MODEL = nn.Linear(4, 4)


@dataset(
    classes=CLASSES,
    shape=(1, 8, 8),
    development=DEVELOPMENT,
    test=IMAGES - DEVELOPMENT,
    mean=(0.5,),
    std=(0.25,),
    files={},
    source="nothing is learned from it",
    recipe=Recipe(epochs=1, batch_size=30, lr=0.01),
)
def blank(files: Mapping[str, bytes]) -> Images:
    """Black images."""
    return Images(np.zeros((IMAGES, 1, 8, 8), np.uint8), np.arange(IMAGES) % CLASSES)


def declare(number: int) -> None:
    """Declare a method of its own name that changes nothing."""

    class NoOp:
        """Change nothing."""

        a: float = uniform(0, 1, default=0.5)
        b: float = uniform(0, 1, default=0.5)
        c: float = uniform(0, 1, default=0.5)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    NoOp.__name__ = f"NoOp{number:02d}"
    method(reads=(), source="nothing")(NoOp)


for number in range(METHODS):
    declare(number)


def perform(
    unit: Unit,
    bench: Workbench,
    attempt: int = 1,
    keep_models: KeepModels = "original",
    limit: AbstractContextManager[None] | None = None,
) -> Status:
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


performer.perform = perform  # type: ignore[attr-defined]
