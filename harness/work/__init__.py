"""Run one unit in this process: (unit, workbench) -> rows, committed at once. Knows nothing of Ray."""

from harness.work.bench import Workbench
from harness.work.unit import perform

__all__ = ["Workbench", "perform"]
