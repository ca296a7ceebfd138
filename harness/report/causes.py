"""Why something has no result: exceptions, divergence, and models of no use."""

from __future__ import annotations

import polars as pl

from harness.errors import printable
from harness.metrics import CELL
from harness.ranking import merge_searches
from harness.report.blocks import Column, Group, Row, Table, TableCell
from harness.report.numbers import NONE, fixed, several
from harness.report.roster import Roster, competitors

MOST_ROWS, MOST_LETTERS = 60, 300
WHERE = ("method", "config", *CELL, "kind")
DIVERGED = "diverged: weights or outputs became infinite or NaN"

_COLUMNS = (
    Column("method", numeric=False),
    Column("where", numeric=False),
    Column("cause", numeric=False),
    Column("seeds", numeric=False),
    Column("in the end", numeric=False),
)


def causes(
    failures: pl.DataFrame, units: pl.DataFrame, trials: pl.DataFrame, roster: Roster
) -> tuple[Table | None, int]:
    """Return a table of what went wrong, None if nothing did, and how many rows it has no room for."""
    units, failures = merge_searches(units), merge_searches(failures)
    rows = [
        *_exceptions(failures, units, roster),
        *_divergences(units, roster),
        *_useless(failures, units, trials, roster),
    ]
    if not rows:
        return None, 0
    return Table("What failed, and why", _COLUMNS, [Group(rows[:MOST_ROWS])]), max(0, len(rows) - MOST_ROWS)


def _exceptions(failures: pl.DataFrame, units: pl.DataFrame, roster: Roster) -> list[Row]:
    """One row for each method, place and cause; attempts with the same cause count together."""
    final = units.select("unit", pl.col("status").alias("final")).unique("unit", keep="last")
    cause = ("phase", "exception", "message")
    grouped = (
        failures.join(final, on="unit", how="left")
        .group_by(*WHERE, *cause)
        .agg(
            pl.col("seed").unique().sort(),
            pl.len().alias("attempts"),
            pl.col("final").unique().sort(nulls_last=True),
        )
        .sort(*WHERE, *cause, nulls_last=True)
    )
    return [
        _row(roster, row, f"{row['exception']}: {row['message'] or ''}", f"in phase {row['phase']}", _end(row))
        for row in grouped.iter_rows(named=True)
    ]


def _end(row: dict[str, object]) -> str:
    final, attempts = row["final"], row["attempts"]
    assert isinstance(final, list)
    assert isinstance(attempts, int)
    if final == ["done"]:
        return f"a later attempt succeeded ({several(attempts, 'failure')})"
    ends = " or ".join(str(one) for one in final if one) or "failed"
    return f"{ends} ({several(attempts, 'failed attempt')})"


def _divergences(units: pl.DataFrame, roster: Roster) -> list[Row]:
    diverged = units.filter(pl.col("status") == "diverged")
    grouped = diverged.group_by(WHERE).agg(pl.col("seed").unique().sort()).sort(WHERE)
    return [_row(roster, row, DIVERGED, "", "diverged") for row in grouped.iter_rows(named=True)]


def _useless(failures: pl.DataFrame, units: pl.DataFrame, trials: pl.DataFrame, roster: Roster) -> list[Row]:
    """One row for each failed method whose every trial finished: its worst test accuracy says why."""
    broken = units.filter(pl.col("status") != "done")
    explained = {*competitors(failures), *competitors(broken)}
    rows = []
    accuracy = trials.filter(pl.col("metric") == "accuracy_test", pl.col("value").is_not_null())
    merged = merge_searches(accuracy).sort("value", *CELL, "seed")
    for entry in roster.of_status("failed"):
        if entry.competitor in explained:
            continue
        own = merged.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
        found = own.row(0, named=True) if own.height else dict.fromkeys((*CELL, "seed", "value"))
        cause = f"no usable model: its lowest test accuracy is {fixed(found['value'], 3)}"
        row = {
            **found,
            "method": entry.method,
            "config": entry.config,
            "kind": "unlearn",
            "seed": [found["seed"]],
        }
        rows.append(_row(roster, row, cause, "", "finished"))
    return rows


def _row(roster: Roster, row: dict[str, object], cause: str, note: str, end: str) -> Row:
    seeds = row["seed"]
    assert isinstance(seeds, list)
    cell = " · ".join(str(row[name]) for name in CELL if row[name])
    texts = (
        TableCell(roster.label(str(row["method"]), str(row["config"])) or "original"),
        TableCell(printable(cell), str(row["kind"])),
        TableCell(_cut(printable(cause)), printable(note)),
        TableCell(", ".join(str(seed) for seed in seeds if seed is not None) or NONE),
        TableCell(printable(end)),
    )
    return Row(texts)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
