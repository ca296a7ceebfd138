"""Where the numbers come from: what ran, when, on what, with which versions and hyperparameters."""

from __future__ import annotations

import json

import polars as pl

from harness.errors import printable
from harness.ranking import merge_searches
from harness.report.blocks import Column, Group, Row, Section, Table, TableCell
from harness.report.numbers import NONE, fixed, several
from harness.report.roster import Roster
from harness.report.statements import CAVEAT

MOST_VALUES = 6
STATUS = ("done", "diverged", "failed")


def provenance(units: pl.DataFrame, planned: pl.DataFrame, roster: Roster) -> Section:
    """Return the section on the units of the study, of which `planned` has a row each where the plan is known."""
    if units.is_empty():
        return Section("Provenance", "provenance", ["No unit of this study has been run."])
    blocks = [_facts(units), _counts(units, planned), _hyperparameters(units, roster)]
    return Section("Provenance", "provenance", [CAVEAT], blocks)


def _facts(units: pl.DataFrame) -> Table:
    facts = {
        "run": _dates(units["started"]),
        "computing": f"{_duration(float(units['seconds'].sum()))} in all units together",
        "hosts": several(units["host"].n_unique(), "host"),
        "devices": _listed(units["device"]),
        "seeds": _listed(units["seed"]),
        "parameters": _parameters(units),
        "versions": "; ".join(_pairs(text) for text in _distinct(units["versions"])),
    }
    rows = [Row([TableCell(name), TableCell(printable(text))]) for name, text in facts.items() if text]
    return Table("Where and when", [Column("what", numeric=False), Column("value", numeric=False)], [Group(rows)])


def _counts(units: pl.DataFrame, planned: pl.DataFrame) -> Table:
    grouped = units.group_by("kind").agg(
        *((pl.col("status") == status).sum().alias(status) for status in STATUS),
        pl.col("work_seconds").median(),
        pl.col("peak_memory").max(),
    )
    counted: tuple[str, ...] = STATUS
    if planned.height:
        in_plan = planned.group_by("kind").agg(pl.len().alias("planned"))
        grouped = in_plan.join(grouped, on="kind", how="left").with_columns(pl.col(STATUS).fill_null(0))
        counted = ("planned", *STATUS)
    rows = [
        Row(
            [TableCell(printable(row["kind"]))]
            + [TableCell(str(row[name]), value=row[name]) for name in counted]
            + [TableCell(fixed(row["work_seconds"], 2), value=row["work_seconds"])]
            + [TableCell(_megabytes(row["peak_memory"]), value=row["peak_memory"])]
        )
        for row in grouped.sort("kind").iter_rows(named=True)
    ]
    columns = [
        Column("kind of unit", numeric=False),
        *(Column(name, "units") for name in counted),
        Column("median work", "s", "train or unlearn call alone, device synchronised"),
        Column("peak memory", "MB", "of the device, the largest of all units"),
    ]
    return Table("Units", columns, [Group(rows)])


def _hyperparameters(units: pl.DataFrame, roster: Roster) -> Table:
    rows = []
    unlearned = merge_searches(units.filter(pl.col("kind") == "unlearn"))
    for entry in roster:
        own = unlearned.filter(pl.col("method") == entry.method, pl.col("config") == entry.config)
        texts = [_pairs(text) for text in _distinct(own["hyperparameters"])]
        if any(texts):
            more = f" … and {len(texts) - MOST_VALUES} more" if len(texts) > MOST_VALUES else ""
            listed = "; ".join(texts[:MOST_VALUES]) + more
            rows.append(Row([TableCell(entry.label), TableCell(printable(listed))]))
    columns = [Column("method", numeric=False), Column("values", numeric=False)]
    return Table("Hyperparameters", columns, [Group(rows)], folded=True)


def _distinct(values: pl.Series) -> list[str]:
    return [str(value) for value in values.drop_nulls().unique().sort()]


def _listed(values: pl.Series) -> str:
    found = _distinct(values)
    more = f" and {len(found) - MOST_VALUES} more" if len(found) > MOST_VALUES else ""
    return ", ".join(found[:MOST_VALUES]) + more


def _parameters(units: pl.DataFrame) -> str:
    rows = (
        units.drop_nulls("parameters").select("architecture", "parameters").unique().sort("architecture", "parameters")
    )
    return ", ".join(f"{name} {count:,}" for name, count in rows.rows()[:MOST_VALUES])


def _pairs(text: str) -> str:
    """Return a JSON object as `lr=0.1, epochs=5`, any other text as it is."""
    try:
        values = json.loads(text)
    except ValueError:
        return text
    return ", ".join(f"{name}={value}" for name, value in values.items()) if isinstance(values, dict) else text


def _dates(started: pl.Series) -> str:
    known = [f"{moment:%Y-%m-%d %H:%M}" for moment in started.drop_nulls().sort()]
    if not known:
        return ""
    return f"units started from {known[0]} to {known[-1]} UTC" if known[0] != known[-1] else f"{known[0]} UTC"


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _megabytes(size: int | None) -> str:
    return NONE if size is None else f"{size / 1e6:,.0f}"
