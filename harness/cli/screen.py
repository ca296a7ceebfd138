"""The one screen that a run ends with."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.cli.challenge import challenge_lines, stored_scores
from harness.cli.progress import Live
from harness.cli.terminal import silence_closed
from harness.cli.text import columns, device_hours, duration, plural, rank_text, say
from harness.drive import Where, run
from harness.labels import labels
from harness.ledger import Summary
from harness.metrics import TAMPERED_METRICS, TRIO_ACCURACIES, definition
from harness.pricing.costs import Costs, measured
from harness.pricing.price import price
from harness.ranking import merge_searches
from harness.selection import Selection
from harness.store import Store
from harness.verdict import chosen_on_test, did_nothing, diverges_in_the_audit, passes_but_fails, sees_validation
from harness.views import cautions_of, title_line

SHOWN = {
    "accuracy_test": "test acc",
    "accuracy_test_retain": "kept classes",
    "accuracy_test_forget": "forgotten",
    **{metric: definition(metric).label for metric in TAMPERED_METRICS},
    "retention_deviation": "RetDev",
    "gap_to_retrain": "gap to retrain",
    "population_mia_val": "population MIA",
    **{metric: definition(metric).label for metric in (*TRIO_ACCURACIES, "loss_gap")},
    "anamnesis": "AIN",
    "time_ratio": "time / retrain",
}
"""Metric to column of the screen."""

FAILURES = 5
"""At most so many failures are named; the tables hold them all."""

LEGEND = "U-LiRA: AUC against images that were never in [95 %] and (R) against retrained models; 0.5 is no leak."

NOTHING = "Nothing to rank yet: no method has unlearned, and nothing has been retrained."

NOTES = {"retrain": "<- the reference", "original": "<- nothing unlearned"}


def run_and_show(
    study: str,
    root: str | None,
    place: Where,
    selection: Selection,
    as_json: bool,
    max_device_hours: float = float("inf"),
) -> None:
    """Run a study, print its screen, and exit with 1 if units failed."""
    try:
        summary = run(
            study,
            root,
            where=place,
            selection=selection,
            progress=Live(sys.stderr, lambda: Costs.of(measured(Store.open(root)))),
            max_device_hours=max_device_hours,
        )
    except KeyboardInterrupt:
        silence_closed()  # SIGHUP comes when a terminal is closed
        raise
    say(json.dumps(as_document(summary, root), indent=2) if as_json else screen(summary, root))
    sys.exit(1 if summary.failed else 0)


def screen(summary: Summary, root: str | None) -> str:
    """Return the ranking of a run's study as a person reads it, and where to look further."""
    study, store = summary.plan.study, Store.open(root)
    rankings, audited = _rankings(summary, store), _audited(summary, store)
    header = ["rank", "method", *_shown(rankings).values(), *(f"U-LiRA {pool} (R)" for pool in audited), ""]
    rows = _rows(rankings, audited)
    lines = [
        f"{study.question or study.name}   {title_line(summary.plan)}   {duration(summary.seconds)}",
        "",
        columns(rows, header) if rows else NOTHING,
        "",
        *([LEGEND] if audited else []),
        *challenge_lines(stored_scores(store, study.name)),
        *_remarks(summary, rankings),
        *_left(summary, store),
        *(_careful(summary, store) if rows else []),
        *(_verdict(summary, store) if rows else []),
        _where(summary),
    ]
    return "\n".join(lines)


def as_document(summary: Summary, root: str | None) -> dict[str, Any]:
    """Return the same for a program; the rows of the challenge's score, under `challenge`, only where there are any."""
    scored = stored_scores(Store.open(root), summary.plan.study.name).to_dicts()
    document = {
        "plan": summary.plan.id,
        "ran": dict(summary.ran),
        "cached": summary.cached,
        "not_tried": summary.not_tried,
        "failed": [unit.id for unit in summary.failed],
        "seconds": summary.seconds,
        "report": summary.views.report if summary.views else None,
        "rankings": _rankings(summary, Store.open(root)).to_dicts(),
        "device_hours": summary.budget.used,
        "reused": summary.reused,
        "loaded": summary.loaded,
    }
    return document | ({"challenge": scored} if scored else {})


def _rankings(summary: Summary, store: Store) -> pl.DataFrame:
    table = store.scan("rankings").filter(pl.col("study") == summary.plan.study.name)
    return table.filter(pl.col("group") == "overall").collect()


def _shown(rankings: pl.DataFrame) -> dict[str, str]:
    measured = set(rankings.filter(pl.col("value").is_not_null())["metric"])
    return {metric: label for metric, label in SHOWN.items() if metric in measured}


def _audited(summary: Summary, store: Store) -> dict[str, dict[tuple[str, str], str]]:
    """Return, for each audit pool, the headline U-LiRA of each method; with several cells, see the report.

    Null O with its interval and, in parentheses, null R: a model that was ruined leaks nothing about who was ever in.
    """
    table = store.scan("attacks").filter(pl.col("study") == summary.plan.study.name)
    headline = merge_searches(table.filter((pl.col("level") == "L2") & (pl.col("metric") == "auc")).collect())
    if headline.select("dataset", "architecture").n_unique() != 1:
        return {}
    against = {(row["pool"], row["method"], row["config"], row["null"]): row for row in headline.iter_rows(named=True)}
    found: dict[str, dict[tuple[str, str], str]] = {}
    for pool, method, config in headline.select("pool", "method", "config").unique(maintain_order=True).rows():
        never_in, retrained = (against.get((pool, method, config, null)) for null in ("O", "R"))
        second = "-" if retrained is None or retrained["value"] is None else f"{retrained['value']:.2f}"
        found.setdefault(pool, {})[method, config] = f"{_estimate(never_in)} ({second})"
    return found


def _estimate(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None or row["low"] is None else f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _rows(rankings: pl.DataFrame, audited: Mapping[str, Mapping[tuple[str, str], str]]) -> list[list[str]]:
    """One row a method: by rank, then failed ones, then the references."""
    cells = {(row["method"], row["config"], row["metric"]): row for row in rankings.iter_rows(named=True)}
    order = pl.col("status").replace_strict(
        {"ranked": 0, "missing": 1, "failed": 2, "reference": 3}, return_dtype=pl.Int8
    )
    overall = rankings.filter(pl.col("metric") == "overall").sort(
        order, "rank", "method", descending=[False, False, True]
    )
    names = labels(overall.select("method", "config").rows())
    rows = []
    for row in overall.iter_rows(named=True):
        key = (row["method"], row["config"])
        note = NOTES.get(row["method"], "failed" if row["status"] == "failed" else "")
        values = [_value(cells.get((*key, metric))) for metric in _shown(rankings)]
        values += [pool.get(key, "-") for pool in audited.values()]
        rows.append([rank_text(row), names[key], *values, note])
    return rows


def _value(row: Mapping[str, Any] | None) -> str:
    """Return a value with half the width of its interval."""
    if row is None or row["value"] is None:
        return "-"
    if row["low"] is None or row["low"] == row["high"] == row["value"]:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"


def _remarks(summary: Summary, rankings: pl.DataFrame) -> list[str]:
    remarks = []
    overall = rankings.filter(pl.col("metric") == "overall")
    if not overall.is_empty() and overall["cells"][0] == 1:
        seeds = int(overall["seeds"][0])
        spread = f"± spans 95 % over {seeds} seeds" if seeds > 1 else "One seed has no spread"
        remarks.append(f"{spread}; one cell, so it speaks of that cell alone.")
    for unit in summary.failed[:FAILURES]:
        remarks.append(f"failed: {unit}   harness show {unit.id}")
    if len(summary.failed) > FAILURES:
        remarks.append(f'and {len(summary.failed) - FAILURES} more: harness query "select unit, message from failures"')
    if summary.views:
        remarks += summary.views.missing
    return remarks


def _left(summary: Summary, store: Store) -> list[str]:
    """Return in one line why units were not tried, and how to go on."""
    if not summary.not_tried:
        return []
    if not summary.budget.is_used_up:
        return [f"{plural(summary.not_tried, 'unit')} not tried: what they need has failed; run again to go on"]
    left = summary.plan.remaining(store.committed(), store.models())
    cost = price(left, store, summary.plan.study.keep_models)
    used = f"{device_hours(summary.budget.used)} used of {summary.budget.hours:g}"
    unpriced = f" and {plural(cost.unpriced, 'unit')} of which nothing like them ran yet" if cost.unpriced else ""
    rest = f"{plural(len(left), 'unit')} left, about {device_hours(cost.device_hours)}{unpriced}"
    return [f"Stopped with {used}: {rest}; the same command goes on."]


def _careful(summary: Summary, store: Store) -> list[str]:
    study = summary.plan.study
    told = {
        "May read the validation images, which flatters its population MIA": sees_validation(study),
        "Its model was chosen by accuracy on test, which flatters all numbers": chosen_on_test(study),
        "Changed no weight in some trial, so that its model is what it started from": did_nothing(summary.plan, store),
    }
    held_out = [f"{what}: {', '.join(names)}." for what, names in told.items() if names]
    return [*held_out, *cautions_of(summary.plan)]


def _verdict(summary: Summary, store: Store) -> list[str]:
    if summary.plan.study.farm is None:
        return []
    lost, names = diverges_in_the_audit(summary.plan, store), passes_but_fails(summary.plan, store)
    told = [f"Diverges on the shadows, so the audit says nothing of it: {', '.join(lost)}."] if lost else []
    return [*told, f"Passes the usual attack, fails the audit: {', '.join(names) or 'none'}."]


def _where(summary: Summary) -> str:
    report = summary.views.report if summary.views else "-"
    return f'report {report}     tables harness query "select …"     mlflow harness ui'
