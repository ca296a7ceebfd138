"""The files of a plan's parent run: report page, figures, tables and the plan itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from harness.metrics import CELL
from harness.ranking import REFERENCES
from harness.tracking.plan import StoredPlan
from harness.tracking.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRADEOFF = ("retention_deviation", "indiscernibility_val")
FOREST = (*TRADEOFF, "gap_to_retrain", "population_mia_val", "accuracy_forget", "accuracy_test")
DOTS_PER_INCH = 144
FEW_UNITS = 2_000
"""Up to which a plan is laid out for reading; that of 50,000 took ten seconds."""


def files_digest(plan: StoredPlan, results: Results, page: bytes | None) -> str:
    """Return the digest of all that the files are made of; `page` is the report, if it is of this plan."""
    # The ids stand for the units, whose own texts are 35 MB for 50,000; documents of older versions have none.
    left_out = {"units"} if "ids" in plan.document else set()
    told = {name: part for name, part in plan.document.items() if name not in left_out}
    summed = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, frame in _tables(results):
        summed.update(f"\n{name}\n{frame.write_csv()}".encode())
    summed.update(page or b"")
    return summed.hexdigest()[:16]


def write_files(folder: Path, plan: StoredPlan, results: Results, page: bytes | None) -> None:
    """Write the files into a folder."""
    if page:
        (folder / "report.html").write_bytes(page)
    large = len(plan.document["units"]) > FEW_UNITS
    (folder / "plan.json").write_text(json.dumps(plan.document, indent=None if large else 2))
    (folder / "tables").mkdir()
    for name, frame in _tables(results):
        frame.write_csv(folder / "tables" / f"{name}.csv")
        frame.write_parquet(folder / "tables" / f"{name}.parquet")
    (folder / "figures").mkdir()
    for name, figure in _figures(results):
        figure.savefig(folder / "figures" / f"{name}.png", dpi=DOTS_PER_INCH, facecolor="white")


def _tables(results: Results) -> Iterator[tuple[str, pl.DataFrame]]:
    tables = {
        "rankings": results.rankings,
        "cells": results.estimates,
        "metrics": results.trials,
        "attacks": results.attacks,
        "failures": results.failures,
        "definitions": results.definitions,
    }
    return ((name, frame) for name, frame in tables.items() if frame.height)


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """Yield the figures for which there are numbers."""
    from harness.report import curves_figure, forest_figure, ranking_figure, tradeoff_figure

    meanings = results.definitions
    if results.rankings["rank"].is_not_null().any():
        yield "ranking", ranking_figure(results.rankings, meanings)
    of_methods = results.estimates.filter(~pl.col("method").is_in(REFERENCES))
    shown = [metric for metric in FOREST if metric in set(of_methods["metric"])]
    if shown:
        yield "values", forest_figure(results.trials, meanings, shown)
    if set(TRADEOFF) <= set(shown):
        yield "tradeoff", tradeoff_figure(results.trials, meanings)
    if results.trials.select(CELL).n_unique() == 1 and (results.epochs["epoch"] > 0).any():
        yield "curves", curves_figure(results.epochs)
