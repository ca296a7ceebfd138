"""The tables of `harness rank` as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from harness.cli.text import columns, interval, plural, rank_text
from harness.metrics import CELL, GAP_IN_SD
from harness.ranking import OVERALL, SHORT, Friedman, counts_text, known_metrics

HEADER = [
    "rank",
    "method",
    "value",
    "95 % interval",
    "tie group",
    "G1/G2/G3/Failed",
    "group rank",
    "coverage",
    "status",
]
NONE = "-"
DECIMALS = {"run_time_efficiency": 1, GAP_IN_SD: 1}
"""Of the table by cell; 3 for all others."""

Row = Mapping[str, Any]


def ranking_text(frame: pl.DataFrame, tests: Sequence[Friedman]) -> str:
    """Return the rankings, a table for each group of cells and metric with a value, each with its test below."""
    of_table = {(test.group, test.metric): test for test in tests}
    parts = []
    for (group, metric), rows in frame.group_by(["group", "metric"], maintain_order=True):
        if rows["value"].null_count() == rows.height and metric != OVERALL:
            continue
        parts += [f"\n{metric}{'' if group == 'overall' else f'  ({group})'}"]
        parts += [columns([_ranked(row) for row in rows.iter_rows(named=True)], HEADER)]
        if test := of_table.get((str(group), str(metric))):
            parts.append(friedman_line(test))
    return "\n".join(parts)


def _ranked(row: Row) -> list[str]:
    return [
        rank_text(row),
        _name((row["method"], row["config"])),
        NONE if row["value"] is None else f"{row['value']:.4f}",
        interval(row),
        NONE if row["tie_group"] is None else str(row["tie_group"]),
        counts_text(row) or NONE,
        NONE if row["group_rank"] is None else f"{row['group_rank']:g}",
        f"{row['coverage']:.0%}",
        str(row["status"]),
    ]


def friedman_line(test: Friedman) -> str:
    """Return a test in one line: p values, the critical difference, and who cannot be told apart by it."""
    left_out = f"; left out, failed or without a value in each: {_names(test.left_out)}" if test.left_out else ""
    if test.reason:
        return f"No Friedman test: {test.reason}{left_out}."
    k = len(test.methods)
    f = "F infinite" if test.f is None else f"F({k - 1}, {(k - 1) * (test.n - 1)}) = {test.f:.2f}"
    alike = " | ".join(_names(clique) for clique in test.cliques) or "no two methods"
    return (
        f"Friedman (ours) over {plural(test.n, test.blocks[:-1])}: chi2({k - 1}) = {test.chi2:.2f}, "
        f"{_p_value(test.chi2_p)}; Iman-Davenport {f}, {_p_value(test.f_p)}; Nemenyi difference of mean ranks "
        f"{test.critical_difference:.2f} (5 %), not told apart: {alike}{left_out}."
    )


def _p_value(p: float | None) -> str:
    return "p < 0.0001" if p is not None and p < 0.0001 else f"p = {p:.4f}"


def _names(competitors: Sequence[tuple[str, str]]) -> str:
    return ", ".join(map(_name, competitors))


def _name(competitor: tuple[str, str]) -> str:
    method, config = competitor
    return method if config == "default" else f"{method} ({config})"


def cells_text(frame: pl.DataFrame) -> str:
    """Return a table for each cell as the paper has it: mean, ± standard deviation over seeds, groups."""
    parts = []
    for cell, rows in frame.group_by(CELL, maintain_order=True):
        shown = known_metrics(rows)
        header = ["method", "seeds", *(text for metric in shown for text in _heads(metric, rows)), "status"]
        table = [_cell_row(row, shown, rows) for row in rows.iter_rows(named=True)]
        parts.append(f"\n{', '.join(map(str, cell))}\n{columns(table, header)}")
    return "\n".join(parts)


def _heads(metric: str, rows: pl.DataFrame) -> list[str]:
    label = SHORT.get(metric, "gap/sd")
    return [label, "group"] if f"{metric}_group" in rows.columns else [label]


def _cell_row(row: Row, shown: Sequence[str], rows: pl.DataFrame) -> list[str]:
    texts = [_name((row["method"], row["config"])), str(row["seeds"])]
    for metric in shown:
        places, value, sd = DECIMALS.get(metric, 3), row[metric], row.get(f"{metric}_sd")
        spread = "" if sd is None else f" ±{sd:.{places}f}"
        texts.append(NONE if value is None else f"{value:.{places}f}{spread}")
        if f"{metric}_group" in rows.columns:
            texts.append(row[f"{metric}_group"] or NONE)
    return [*texts, row["status"]]
