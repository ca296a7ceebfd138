"""Run one unit in this process: (unit, workbench) -> rows, committed at once. Knows nothing of Ray."""

from harness.work.bench import Workbench
from harness.work.unit import perform, perform_together

__all__ = ["Workbench", "perform", "perform_together"]
