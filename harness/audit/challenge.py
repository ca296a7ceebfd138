"""The score of the NeurIPS 2023 unlearning challenge, from the trials of a study.

N models unlearned with different seeds, in the challenge all from one original, against N retrains: phi of the forget
set, from the rows of `signals` that every trial leaves. Formulas: `harness.attacks.forgetting`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from harness.attacks import AttackError, ModelInterval, Result, final_score, forgetting_interval
from harness.attacks.signal import Floats
from harness.audit.farm import columns_of
from harness.audit.further import forgetting_result
from harness.frames import of_units
from harness.metrics import CELL, RETRAIN
from harness.metrics.challenge import (
    COVERAGE,
    LEAST,
    LEVEL,
    NOT_TIMED,
    NULL_IS_0,
    OWN_ORIGINALS,
    SLOWEST,
    TIME,
    TOO_FEW,
    TOO_SLOW,
    UNLIMITED,
)
from harness.store import Store
from harness.store.schemas import polars_schema
from harness.unit import Kind, Unit

POOL, NULL = "forget", "R"
SAMPLES = 50
"""Halves of the models behind an interval, for a standard error that is known to 10 %: more of them take minutes on
thousands of images."""

Competitor = tuple[str, str]
RETRAINED: Competitor = (RETRAIN, "default")


@dataclass(frozen=True)
class Models:
    """What is known of the models of one method in one cell.

    `phi` [N, E] of the usable ones, in the order of the seeds; `planned` of them; from how many `originals`. Means over
    the models: accuracy on `retain` and `test`, `time` relative to retrain; None where not known.
    """

    phi: Floats
    planned: int
    originals: int
    retain: float | None
    test: float | None
    time: float | None


def challenge_rows(units: Mapping[str, Unit], values: pl.DataFrame, study: str, store: Store) -> pl.DataFrame:
    """Return the `attacks` rows of the challenge's score: three for each method of each cell, also without a value.

    `values` is the frame of `harness.frames.trials` of these units.
    """
    planned = {key: unit for key, unit in units.items() if unit.kind in (Kind.RETRAIN, Kind.UNLEARN)}
    done = of_units(store, "units", planned).filter(status="done")["unit"]
    signals = of_units(store, "signals", done.to_list()).filter(pool=POOL, query="identity")
    rows = [
        {"study": study, **dict(zip((*CELL, "method", "config"), (*cell, *competitor), strict=True))}
        | {"pool": POOL, "null": NULL, "level": LEVEL}
        | columns_of(result)
        for cell, models in models_of(planned, signals, values)
        for competitor, own in models.items()
        for result in (ceiling(own) if competitor == RETRAINED else score_of(own, models[RETRAINED]))
    ]
    return pl.DataFrame(rows, schema=polars_schema("attacks"), orient="row")


def models_of(
    units: Mapping[str, Unit], signals: pl.DataFrame, values: pl.DataFrame
) -> Iterator[tuple[tuple[str, ...], dict[Competitor, Models]]]:
    """Yield each cell with the models of all its methods, from their rows of `signals` and their metrics."""
    cells: dict[tuple[str, ...], dict[Competitor, list[Unit]]] = {}
    for unit in units.values():
        cells.setdefault(unit.cell, {}).setdefault((unit.method.name, unit.config), []).append(unit)
    phi = dict(signals.select("unit", "phi").iter_rows())
    key = (*CELL, "method", "config", "metric")
    means = {row[:-1]: row[-1] for row in values.group_by(key).agg(pl.mean("value")).rows()}
    for cell, methods in cells.items():
        yield cell, {one: _models(own, phi, means, (*cell, *one)) for one, own in methods.items()}


def _models(
    units: list[Unit], phi: Mapping[str, list[float]], means: Mapping[Any, float | None], about: tuple[str, ...]
) -> Models:
    rows = [phi[unit.id] for unit in sorted(units, key=lambda unit: unit.seed) if unit.id in phi]
    return Models(
        np.array(rows, dtype=np.float64).reshape(len(rows), -1),
        len(units),
        len({unit.needs[0] for unit in units if unit.needs}),
        *(means.get((*about, metric)) for metric in ("accuracy_retain", "accuracy_test", "time_ratio")),
    )


def score_of(own: Models, retrained: Models) -> list[Result]:
    """Return `forgetting_quality`, `forgetting_ratio` and `challenge_score` of a method.

    F and the score are over all models, with F_null, which needs two halves of the retrains, as their floor; the ratio
    takes as many models for F as F_null has. The accuracies and F_null are taken as known in the intervals.
    """
    flags = tuple(_flags(own, min(len(own.phi), len(retrained.phi))))
    quality = _about(own.phi, retrained.phi, flags)
    half = min(len(own.phi), len(retrained.phi) // 2)
    ratio = replace(quality, metric="forgetting_ratio", n=half, k_u=half, k_o=half)
    final = replace(quality, metric="challenge_score", flags=(*flags, *_timed(own)))
    if quality.n < LEAST:
        return [quality, ratio, final]
    matched = forgetting_result(ratio, own.phi, retrained.phi, SAMPLES)
    found = forgetting_interval(own.phi, retrained.phi, samples=SAMPLES)
    return [
        _estimated(quality, found, matched.null_floor),
        _ratio(ratio, matched),
        _final(replace(final, null_floor=matched.null_floor), found, own, retrained),
    ]


def ceiling(retrained: Models) -> list[Result]:
    """Return the same of the retrains, one half as if it were unlearned: F_null, which no score can be far above."""
    models = len(retrained.phi)
    first, second = retrained.phi[: models // 2], retrained.phi[models // 2 : models // 2 * 2]
    quality = _about(second, first, tuple(_flags(retrained, models)))
    if models >= LEAST:
        found = forgetting_interval(second, first, samples=SAMPLES)
        quality = _estimated(quality, found, found.value)
    ratio = 1.0 if quality.value else None
    return [
        quality,
        replace(quality, metric="forgetting_ratio", value=ratio, se=None, low=None, high=None, null_floor=1.0),
        replace(quality, metric="challenge_score", flags=(*quality.flags, *_timed(retrained, math.inf))),
    ]


def _about(releases: Floats, against: Floats, flags: tuple[str, ...]) -> Result:
    k_u, k_o = len(releases), len(against)
    return Result("forgetting_quality", min(k_u, k_o), k_u, k_o, against.shape[1], min(k_u, k_o), flags)


def _estimated(about: Result, found: ModelInterval, null: float | None) -> Result:
    return replace(about, value=found.value, se=found.se, low=found.low, high=found.high, null_floor=null)


def _flags(own: Models, models: int) -> Iterator[str]:
    if models < LEAST:
        yield f"{TOO_FEW}:{models}/{LEAST}"
    if len(own.phi) < own.planned:
        yield f"{COVERAGE}:{len(own.phi)}/{own.planned}"
    if own.originals > 1:
        yield f"{OWN_ORIGINALS}:{own.originals}"


def _timed(own: Models, slowest: float = SLOWEST) -> Iterator[str]:
    if own.time is None:
        yield NOT_TIMED
        return
    yield f"{TIME}:{own.time:.4g}"
    if own.time > slowest:
        yield TOO_SLOW


def _ratio(about: Result, matched: Result) -> Result:
    null = matched.null_floor
    if not null:
        return replace(about, flags=(*about.flags, NULL_IS_0))
    ends = (matched.value, matched.se, matched.low, matched.high)
    value, se, low, high = (None if end is None else end / null for end in ends)
    return replace(about, value=value, se=se, low=low, high=high, null_floor=1.0)


def _final(about: Result, found: ModelInterval, own: Models, retrained: Models) -> Result:
    """Return the score; where it is rejected its value is a flag alone."""
    accuracies = (own.retain, retrained.retain, own.test, retrained.test)
    try:
        kept = final_score(1.0, *(math.nan if one is None else one for one in accuracies))
    except AttackError:
        return replace(about, flags=("insufficient", *about.flags))
    if TOO_SLOW in about.flags:
        return replace(about, flags=(*about.flags, f"{UNLIMITED}:{found.value * kept:.4g}"))
    scaled = ModelInterval(*(kept * one for one in (found.value, found.se, found.low, found.high)))
    return _estimated(about, scaled, about.null_floor)
