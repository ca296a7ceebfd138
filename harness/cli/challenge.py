"""The challenge's score as it is printed below a ranking."""

from __future__ import annotations

import polars as pl

from harness.cli.text import columns
from harness.labels import labels
from harness.metrics.challenge import Score, of_trials, scores
from harness.ranking import merge_searches
from harness.store import Store

HEADER = ["method", "F [95 %]", "F_null", "F / F_null", "time / retrain", "score", "N (of F_null)", ""]
LEGEND = "Challenge score (NeurIPS 2023): F = 1 cannot be reached, F_null is what retraining scores{ceiling}."


def stored_scores(store: Store, study: str) -> pl.DataFrame:
    """Return the rows of the challenge's score of a study, as its last run or report left them."""
    rows = store.scan("attacks").filter(pl.col("study") == study).collect()
    return of_trials(merge_searches(rows))


def challenge_lines(rows: pl.DataFrame) -> list[str]:
    """Return a block for each cell of the rows of the challenge's score; nothing where there are none."""
    found = scores(rows)
    lines: list[str] = []
    for cell, own in found.items():
        null = next((one.null for one in own if one.null is not None), None)
        legend = LEGEND.format(ceiling="" if null is None else f", here {null:.3f}")
        where = f"   {', '.join(cell)}" if len(found) > 1 else ""
        names = labels((one.method, one.config) for one in own)
        table = columns([_row(one, names[one.method, one.config]) for one in own], HEADER)
        lines += [f"{legend}{where}", "", table, ""]
    return lines


def _row(score: Score, name: str) -> list[str]:
    return [
        name,
        _interval(score.forgetting),
        _number(score.null, 3),
        _interval(score.ratio, 2),
        _number(score.time, 3),
        "rejected" if score.rejected else _number(score.score[0], 4),
        f"{score.models} ({score.null_models})",
        "; ".join(score.remarks),
    ]


def _interval(numbers: tuple[float | None, float | None, float | None], places: int = 3) -> str:
    value, low, high = numbers
    if low is None or high is None:
        return _number(value, places)
    return f"{_number(value, places)} [{low:.{places}f}, {high:.{places}f}]"


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
