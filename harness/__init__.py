"""Evaluate machine unlearning at scale: one study file in, a ranking with uncertainty out.

The public face, imported on first use::

    import harness

    study = harness.load_study("digits")
    plan = harness.plan(study)
    harness.run(study, root="runs")
    harness.scan("runs", "metrics")               # a polars LazyFrame
    harness.results("runs")                       # one row per trial, every metric a column
    harness.query("runs", "select method, avg(accuracy_test) from trials group by method")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.version import __version__

if TYPE_CHECKING:
    from harness.drive import run
    from harness.planner import make_plan as plan
    from harness.sql import query
    from harness.study import load_study
    from harness.tables import results, scan

__all__ = ["__version__", "load_study", "plan", "query", "results", "run", "scan"]

_HOMES = {
    "load_study": ("harness.study", "load_study"),
    "plan": ("harness.planner", "make_plan"),
    "run": ("harness.drive", "run"),
    "query": ("harness.sql", "query"),
    "results": ("harness.tables", "results"),
    "scan": ("harness.tables", "scan"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
