"""What the rows of units tell about a run: its status, its times, its hyperparameters, what failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import polars as pl

from harness.tracking.content import COMMIT_TAG, LENGTH, VERSION_TAGS, Status
from harness.tracking.plan import TRIAL_KINDS, PlannedUnit

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


def versions(units: pl.DataFrame) -> dict[str, str]:
    """Return a tag for each package of which units name the version: one, or all where units differ.

    The commit of the harness has the tag that MLflow shows.
    """
    found: dict[str, set[str]] = {}
    for text in units["versions"].drop_nulls().unique():
        for package, version in json.loads(text).items():
            tag = COMMIT_TAG if package == "commit" else f"{VERSION_TAGS}{package}"
            found.setdefault(tag, set()).add(str(version))
    return {tag: ", ".join(sorted(values)) for tag, values in found.items()}


def trial_ids(trials: Iterable[PlannedUnit]) -> str:
    """Return the ids of trials by seed, as many as a tag takes: what leads from MLflow to the tables."""
    ids = [unit.id for unit in sorted(trials, key=lambda unit: unit.seed)]
    text = ", ".join(ids)
    return text if len(text) <= LENGTH else text[: LENGTH - 1].rpartition(",")[0] + "…"


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
