"""GPUs of 80 GB for workers on machines without one: units run on the CPU, and say that they took of a GPU what is
written here.

For workers alone: it changes the modules that do the work.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.schedule import performer
from harness.work import rows
from harness.work import unit as work
from harness.work.rows import Attempt

GB = 2**30
WHOLE = 80 * GB
NEEDS = {"obedient": GB, "finetune": 40 * GB}
USUAL = 4 * GB

_allowed = WHOLE
_perform, _outcome = performer.perform, work._outcome


def _confine(device: torch.device, part: float) -> None:
    global _allowed
    _allowed = int(part * WHOLE)


def _on_the_cpu(unit: Any, bench: Any, *more: Any) -> str:
    bench.device = torch.device("cpu")
    peak = NEEDS.get(unit.method.name, USUAL)
    rows.peak_memory = lambda device: peak
    return _perform(unit, bench, *more)


def _unless_full(attempt: Attempt) -> Any:
    if NEEDS.get(attempt.unit.method.name, USUAL) > _allowed:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return _outcome(attempt)


performer.total_memory = lambda device: WHOLE
performer.confine = _confine
performer.perform = _on_the_cpu  # type: ignore[assignment]
work._outcome = _unless_full
