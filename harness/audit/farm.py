"""The audit of a whole farm: the `attacks` table, and the frames that the report draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from harness.attacks import Result, holm
from harness.audit.examples import examples_of
from harness.audit.further import further
from harness.audit.growth import growth_of
from harness.audit.levels import HEADLINE, Attack, by_levels
from harness.audit.releases import Audited, audited_cells
from harness.farm import Farm
from harness.metrics import FPRS
from harness.metrics.drawn import EFFECTS, GROWTH, ROC, WORLDS
from harness.store import SCHEMAS, Store
from harness.store.schemas import polars_schema
from harness.unit import Unit

ROC_FPRS = tuple(round(float(fpr), 6) for fpr in np.logspace(-3, 0, 16)[:-1])
DRAWN = {"roc": ROC, "effects": EFFECTS, "worlds": WORLDS, "growth": GROWTH}
_ABOUT = ("dataset", "architecture", "method", "config", "pool")


@dataclass(frozen=True)
class FarmAudit:
    """The rows of `attacks`, and what is drawn: ROC curves, effects and signals of images, growth with the shadows."""

    attacks: pl.DataFrame
    roc: pl.DataFrame
    effects: pl.DataFrame
    worlds: pl.DataFrame
    growth: pl.DataFrame


def attack_rows(units: Mapping[str, Unit], farm: Farm, study: str, store: Store) -> pl.DataFrame:
    """Return the `attacks` rows of a study from the farm's signals, however many of them are there yet."""
    return _attacks(
        study,
        ((about, attack) for about, audited in _each(units, store) for attack in _all_attacks(audited, farm, FPRS)),
    )


def audit_farm(units: Mapping[str, Unit], farm: Farm, study: str, store: Store) -> FarmAudit:
    """Return the same rows, and the frames of the report, in one pass over the signals."""
    attacks: list[tuple[tuple[str, ...], Attack]] = []
    drawn: dict[str, list[tuple[Any, ...]]] = {name: [] for name in DRAWN}
    for about, audited in _each(units, store):
        own = list(_all_attacks(audited, farm, tuple(dict.fromkeys((*FPRS, *ROC_FPRS)))))
        attacks += [(about, attack) for attack in own]
        drawn["roc"] += [(*about, *row) for row in _roc(own)]
        effects, worlds = examples_of(audited)
        drawn["effects"] += [(*about, *row) for row in effects]
        drawn["worlds"] += [(*about, *row) for row in worlds]
        drawn["growth"] += [(*about, *row) for row in growth_of(audited)]
    frames = {name: pl.DataFrame(drawn[name], schema=schema, orient="row") for name, schema in DRAWN.items()}
    return FarmAudit(_attacks(study, attacks), **frames)


def _each(units: Mapping[str, Unit], store: Store) -> Iterator[tuple[tuple[str, ...], Audited]]:
    for cell, methods in audited_cells(units, store):
        for audited in methods:
            yield (*cell, *audited.key), audited


def _all_attacks(audited: Audited, farm: Farm, fprs: Sequence[float]) -> Iterator[Attack]:
    """Yield the attacks of a study on one method and pool; each says where rows of the farm are still missing."""
    planned = (farm.retrains if audited.is_retrain else farm.shadows) * max(farm.draws, 1)
    there = len(audited.releases.shadow)
    missing = (f"coverage:{there}/{planned}",) if there < planned else ()
    rates = [(level, fprs if level == HEADLINE else FPRS) for level in farm.levels]
    attacks = [attack for level, own in rates for attack in by_levels(audited, [level], own)]
    more = further(audited, farm.attacks) if HEADLINE in farm.levels else ()  # they fit on the same releases as L2
    for null, level, results in (*attacks, *more):
        yield null, level, [_flagged(result, missing) for result in results]


def _flagged(result: Result, flags: tuple[str, ...]) -> Result:
    return replace(result, flags=(*result.flags, *flags))


def _attacks(study: str, attacks: Iterable[tuple[tuple[str, ...], Attack]]) -> pl.DataFrame:
    """Return the rows of the table; p values are also adjusted for all rows of one null, level and metric (Holm)."""
    kept = {f"tpr@{rate:g}" for rate in FPRS}  # the other rates are those of the curves
    rows = [
        {"study": study, **dict(zip(_ABOUT, about, strict=True)), "scenario": f"audit:{about[-1]}"}
        | {"null": null, "level": level}
        | columns_of(result)
        for about, (null, level, results) in attacks
        for result in results
        if not result.metric.startswith("tpr@") or result.metric in kept
    ]
    frame = pl.DataFrame(rows, schema=polars_schema("attacks"), orient="row")
    parts = frame.partition_by("null", "level", "metric", maintain_order=True)
    adjusted = [part.with_columns(p_adjusted=_holm(part["p_value"])) for part in parts]
    return pl.concat(adjusted) if adjusted else frame


def _holm(p_values: pl.Series) -> pl.Series:
    return pl.Series(holm(p_values.to_list()), dtype=pl.Float64)


def columns_of(result: Result) -> dict[str, Any]:
    """Return the columns of `attacks` that a result fills."""
    known = {field.name: getattr(result, field.name) for field in fields(result)}
    return {name: known[name] for name in SCHEMAS["attacks"].names if name in known} | {"flags": " ".join(result.flags)}


def _roc(attacks: Iterable[Attack]) -> Iterator[tuple[Any, ...]]:
    """Yield null, fpr, tpr and its interval for each rate of the curve of the headline level."""
    for null, level, results in attacks:
        for result in results if level == HEADLINE else ():
            name, _, rate = result.metric.partition("@")
            if name == "tpr" and float(rate) in ROC_FPRS:
                yield null, float(rate), result.value, result.low, result.high
