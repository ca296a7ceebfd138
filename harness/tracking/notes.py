"""Descriptions of runs, in Markdown: what the numbers mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import polars as pl

from harness.errors import printable
from harness.ranking import OVERALL
from harness.tracking.content import LENGTH
from harness.tracking.names import metric_name
from harness.tracking.plan import Cell

_MARKUP = re.compile(r"[\\`*\[\]!]")
HEADLINE = (
    "overall",
    "retention_deviation",
    "gap_to_retrain",
    "indiscernibility_val",
    "accuracy_test",
    "anamnesis",
    "time_ratio",
)
BETTER = {"lower": "lower is better", "higher": "higher is better", "closest": "best at the reference"}
HOW_TO_READ = """\
Each number is the mean over seeds; `_ci_low` and `_ci_high` are the ends of its 95 % bootstrap interval over \
seeds (absent for one seed). `seeds/…` has the value of every seed, the step being the seed; `epochs/…` the \
mean over seeds after every epoch. `rank/…` compares the method with all others of the study. The trials are in \
the tag `harness.trials`; `harness open` with the id of this run shows them.
"""
AUDIT = """\
`mia/ulira_<null>_<statistic>` is what U-LiRA finds on an audit pool, which is named where there are several \
(Hayes et al. 2024, arXiv 2403.01218). Null `o`: images that were never in; an AUC of 0.5 says that nothing leaks. \
Null `r`: exact retrains. `_l0` and `_l1` are weaker attackers, not fitted to the method. `harness ls metrics` \
explains `audit/…`.
"""


def cell_note(cell: Cell, seeds: Sequence[int], metrics: Collection[str], definitions: pl.DataFrame) -> str:
    """Return the description of the run of one cell that shows these metrics."""
    where = f"{cell.dataset}, {cell.scenario}, {cell.architecture}"
    what = f"`{_plain(cell.method)}` ({_plain(cell.config)}) on {_plain(where)}; seeds: {', '.join(map(str, seeds))}."
    audit = [AUDIT] if any("/ulira_" in metric for metric in metrics) else []
    return _fitting([what, "", HOW_TO_READ, *audit, *_meanings(metrics, definitions)])


def study_note(question: str, rankings: pl.DataFrame, definitions: pl.DataFrame) -> str:
    """Return the description of the run of a plan: its question, its ranking, and what the columns mean."""
    rows = rankings.filter(pl.col("group") == OVERALL)
    known = set(rows.filter(pl.col("value").is_not_null())["metric"])
    shown = [metric for metric in HEADLINE if metric in known]
    table = _table(rows, shown, definitions) if shown else ["Nothing has been measured yet."]
    return _fitting(
        [_plain(question), "", *table, "", *_meanings({metric_name(metric) for metric in shown}, definitions)]
    )


def _table(rows: pl.DataFrame, shown: Sequence[str], definitions: pl.DataFrame) -> list[str]:
    labels = dict(definitions.select("metric", "label").iter_rows())
    found = {(row["method"], row["config"], row["metric"]): row for row in rows.iter_rows(named=True)}
    order = pl.col("status").replace_strict({"ranked": 0, "reference": 2}, default=1)
    configs = Counter(method for method, _, metric in found if metric == OVERALL)
    competitors = rows.filter(pl.col("metric") == OVERALL).sort(order, "rank", "method", "config")
    lines = [
        _line(["rank", "method", *(labels[metric] for metric in shown)]),
        _line(["---"] * (2 + len(shown))),
    ]
    for row in competitors.iter_rows(named=True):
        key = (row["method"], row["config"])
        name = _plain(row["method"] if configs[row["method"]] == 1 else " ".join(key))
        rank = _number(row, "rank", "rank_low", "rank_high", "g") or row["status"]
        values = (_number(found.get((*key, metric), {}), "value", "low", "high", ".3f") for metric in shown)
        lines.append(_line([rank, name, *values]))
    return lines


def _plain(text: str) -> str:
    """Return a text of which Markdown makes nothing: no element, link or picture, no line of its own."""
    return _MARKUP.sub(r"\\\g<0>", escape(printable(" ".join(text.split())), quote=False))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(row: Mapping[str, Any], value: str, low: str, high: str, form: str) -> str:
    """Return `0.953 [0.951, 0.955]`, or nothing if there is no value."""
    if row.get(value) is None:
        return ""
    interval = f" [{row[low]:{form}}, {row[high]:{form}}]" if row[low] is not None else ""
    return f"{row[value]:{form}}{interval}"


def _meanings(metrics: Collection[str], definitions: pl.DataFrame) -> list[str]:
    """Return one line for each metric that is defined, with its name in the tables."""
    named = ((metric_name(row["metric"]), row) for row in definitions.iter_rows(named=True))
    return [
        f"- `{name}` ({row['metric']}; {row['unit']}; {BETTER[row['direction']]}): {row['what']}. "
        f"Reference: {row['reference']}."
        for name, row in named
        if name in metrics
    ]


def _fitting(lines: Sequence[str]) -> str:
    """Return as many lines as a tag takes."""
    text = "\n".join(lines)
    return text if len(text) <= LENGTH else text[: LENGTH - 1].rpartition("\n")[0] + "\n…"
