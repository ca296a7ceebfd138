"""Evaluate machine unlearning at scale: one study file in, a ranking with uncertainty out.

The public face, imported on first use::

    import harness

    study = harness.load_study("digits")
    plan = harness.plan(study)
    harness.run(study, root="runs")
    harness.scan("metrics", root="runs")          # a polars LazyFrame
    harness.results(study, root="runs")           # one row per trial and metric
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.drive import run
    from harness.frames import results, scan
    from harness.planner import make_plan as plan
    from harness.study import load_study

__version__ = "0.1.0"
__all__ = ["__version__", "load_study", "plan", "results", "run", "scan"]

_HOMES = {
    "load_study": ("harness.study", "load_study"),
    "plan": ("harness.planner", "make_plan"),
    "run": ("harness.drive", "run"),
    "results": ("harness.frames", "results"),
    "scan": ("harness.frames", "scan"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
