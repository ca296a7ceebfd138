"""The challenge's score as it is read: one `Score` for each method of a cell, from rows of the `attacks` table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from harness.metrics.derive import CELL, ORIGINAL, RETRAIN

LEVEL = "trials"
"""In the column `level` of `attacks`: what speaks of the trials of a study and not of its farm."""
LEAST = 16
"""Models a side. With fewer, F separates next to nothing: at 16, phi that are all shifted by their standard deviation
still have about half of the F that no shift gives."""
SLOWEST = 0.2
"""Of the time of a retrain: what takes longer is rejected, as in the challenge."""

TOO_SLOW, NOT_TIMED, TOO_FEW, OWN_ORIGINALS, NULL_IS_0 = (
    *("too_slow", "not_timed", "too_few_models", "own_originals", "null_is_0"),
)
TIME, UNLIMITED, COVERAGE = "time", "without_limit", "coverage"


@dataclass(frozen=True)
class Score:
    """One method in one cell; None where a number is not known.

    `forgetting` is F with its interval, over `models` a side; `null` is F_null and `ratio` is F / F_null with its
    interval, both with `null_models` a side. `time` is that of retrain's, `score` the final score with its interval, no
    value where it was rejected. `remarks` say in words what else to know.
    """

    dataset: str
    scenario: str
    architecture: str
    method: str
    config: str
    forgetting: tuple[float | None, float | None, float | None]
    null: float | None
    ratio: tuple[float | None, float | None, float | None]
    score: tuple[float | None, float | None, float | None]
    time: float | None
    rejected: bool
    models: int
    null_models: int
    remarks: tuple[str, ...]

    @property
    def is_reference(self) -> bool:
        """Whether it is retrain (the ceiling) or original (nothing unlearned)."""
        return self.method in (RETRAIN, ORIGINAL)


def of_trials(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `attacks` that speak of trials, not of a farm."""
    return attacks.filter(pl.col("level") == LEVEL)


def of_farm(attacks: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `attacks` that are an audit with a farm."""
    return attacks.filter(pl.col("level") != LEVEL)


def scores(attacks: pl.DataFrame) -> dict[tuple[str, ...], list[Score]]:
    """Return the scores of each cell (dataset, scenario, architecture), best first.

    Then come what was rejected, what has no value, and the references. `attacks` is that table, cut to one study.
    """
    found: dict[tuple[str, ...], list[Score]] = {}
    parts = of_trials(attacks).partition_by(*CELL, "method", "config", maintain_order=True)
    for score in sorted((_score(part) for part in parts), key=_place):
        found.setdefault((score.dataset, score.scenario, score.architecture), []).append(score)
    return dict(sorted(found.items()))


def _score(part: pl.DataFrame) -> Score:
    rows = {row["metric"]: row for row in part.iter_rows(named=True)}
    quality, ratio, final = (rows[name] for name in ("forgetting_quality", "forgetting_ratio", "challenge_score"))
    flags = flags_of(final["flags"])
    return Score(
        dataset=final["dataset"],
        scenario=final["scenario"],
        architecture=final["architecture"],
        method=final["method"],
        config=final["config"],
        forgetting=_estimate(quality),
        null=quality["null_floor"],
        ratio=_estimate(ratio),
        score=_estimate(final),
        time=float(flags[TIME]) if TIME in flags else None,
        rejected=TOO_SLOW in flags,
        models=quality["n"],
        null_models=ratio["n"],
        remarks=tuple(_remarks(final["method"], flags)),
    )


def flags_of(text: str | None) -> dict[str, str]:
    """Return the flags of a row by name; what stands behind a colon is the value."""
    return {name: value for name, _, value in (flag.partition(":") for flag in (text or "").split())}


def _estimate(row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    return row["value"], row["low"], row["high"]


def _place(score: Score) -> tuple[bool, int, float, str, str]:
    value = score.score[0]
    stage = 0 if value is not None else 1 if score.rejected else 2
    return score.is_reference, stage, -(value or 0.0), score.method, score.config


def _remarks(method: str, flags: Mapping[str, str]) -> Iterable[str]:
    if method == RETRAIN:
        yield "the ceiling: one half of the retrains against the other"
    if method == ORIGINAL:
        yield "nothing unlearned"
    for name, text in _WORDS.items():
        if name in flags:
            yield text(flags)


_WORDS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    TOO_SLOW: lambda flags: (
        f"rejected: takes more than {SLOWEST:g} of the time of a retrain"
        + (f" (would score {float(flags[UNLIMITED]):.4f})" if UNLIMITED in flags else "")
    ),
    NOT_TIMED: lambda flags: "not timed, so the limit on time was not applied",
    TOO_FEW: lambda flags: f"too few models: {flags[TOO_FEW]}",
    COVERAGE: lambda flags: f"usable models: {flags[COVERAGE]}",
    OWN_ORIGINALS: lambda flags: f"from {flags[OWN_ORIGINALS]} originals, in the challenge from one",
    NULL_IS_0: lambda flags: "F_null is 0: the retrains are too unlike one another",
}
