"""What the rows of units tell about a run: its status, its times, its hyperparameters, what failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import polars as pl

from harness.tracking.content import Status
from harness.tracking.plan import TRIAL_KINDS

NAMED = 20
MESSAGE_LENGTH = 300


def states_of(units: pl.DataFrame) -> dict[str, str]:
    """Return done, diverged or failed by unit id; a unit that is not there has not been run."""
    return dict(units.select("unit", "status").iter_rows())


def status_of(states: Iterable[str | None]) -> Status:
    """Return FAILED if a unit failed, SCHEDULED if one has not been run (None), else FINISHED."""
    found = set(states)
    if "failed" in found:
        return "FAILED"
    return "SCHEDULED" if None in found else "FINISHED"


def started(units: pl.DataFrame) -> int | None:
    """Return when the first unit started, in ms of Unix time."""
    return _milliseconds(units["started"].min())


def ended(units: pl.DataFrame) -> int | None:
    """Return when the last unit ended, in ms of Unix time."""
    ends = pl.col("started") + pl.duration(milliseconds=pl.col("seconds").fill_null(0.0) * 1000)
    return _milliseconds(units.select(ends)["started"].max())


def _milliseconds(time: object) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)  # type: ignore[attr-defined]


def hyperparameters(units: pl.DataFrame) -> dict[str, list[object]]:
    """Return the values of every hyperparameter by name, one for each trial, by seed."""
    values: dict[str, list[object]] = {}
    trials = units.filter(pl.col("kind").is_in(TRIAL_KINDS)).sort("seed")
    for text in trials["hyperparameters"].drop_nulls():
        for name, value in json.loads(text).items():
            values.setdefault(name, []).append(value)
    return values


def failures(units: pl.DataFrame, attempts: pl.DataFrame) -> list[str]:
    """Return one line for each failed unit: what happened in its last attempt of `attempts`."""
    last = {row["unit"]: row for row in attempts.sort("attempt").iter_rows(named=True)}
    failed = units.filter(pl.col("status") == "failed").sort("kind", "method", "seed")
    return [_failure(row, last.get(row["unit"])) for row in failed.iter_rows(named=True)]


def _failure(unit: dict[str, object], attempt: dict[str, object] | None) -> str:
    named = f"{unit['kind']} {unit['method']}, seed {unit['seed']} ({unit['unit']})"
    if attempt is None:
        return named
    cause = " ".join(f"{attempt['exception']}: {attempt['message']}".split())
    return f"{named}: {cause[:MESSAGE_LENGTH]}"


def few(lines: Sequence[str]) -> str:
    """Return at most 20 lines, and how many more there are."""
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n".join([*lines[:NAMED], *more])
