"""What can go wrong with tracking: one line each, and never a reason for a study to fail."""

from __future__ import annotations

from harness.errors import HarnessError

LATER = "`harness ui` or `harness sync STUDY` fills it in later"
REBUILD = "delete it, and `harness sync STUDY` makes it anew from the tables"


class TrackingUnavailable(HarnessError):
    """MLflow cannot be written now; the tables hold everything and it can be synced at any later time."""


class NoSuchRun(HarnessError):
    """An id that no run of MLflow and no unit of a plan begins with, or more than one."""


class NoSuchStudy(HarnessError):
    """A root without any plan, or without one of that name."""
