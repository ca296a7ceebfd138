"""The report of a study: figures, and one page of HTML that needs nothing else. A view of the tables."""

from __future__ import annotations

from harness.report.contrast import contrast_figure
from harness.report.curves import curves_figure
from harness.report.data import ReportData
from harness.report.forest import forest_figure
from harness.report.page import render
from harness.report.ranks import ranking_figure
from harness.report.tradeoff import tradeoff_figure

__all__ = [
    "ReportData",
    "contrast_figure",
    "curves_figure",
    "forest_figure",
    "ranking_figure",
    "render",
    "tradeoff_figure",
]
