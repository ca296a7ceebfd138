"""From the signals of a farm to the `attacks` table: every method, pool, null and level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.attacks import Result, audit, stack_retrains
from harness.farm import Farm, pairs
from harness.frames import of_units
from harness.store import SCHEMAS, Store
from harness.unit import Kind, Unit

HEADLINE_FPRS = (0.01, 0.001)
ROC_FPRS = tuple(float(fpr) for fpr in np.logspace(-3, 0, 16)[:-1])
RETRAIN = "retrain"

Cell = tuple[str, str]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Releases:
    """What one method released on one pool: phi [N, E], who was in the shadow [N, E] bool, the shadows [N]."""

    phi: NDArray[np.float64]
    inside: NDArray[np.bool_]
    shadow: NDArray[np.int64]

    @property
    def pair(self) -> NDArray[np.int64]:
        """The complementary pair [N] of each row: the cluster that is left out of the fit that scores it."""
        return pairs(self.shadow)

    def whole_pairs(self) -> Releases:
        """Return the rows whose partner is there, too: half a pair would make the world that it scores the smaller."""
        pair, count = np.unique(self.pair, return_counts=True)
        return self.only(np.isin(self.pair, pair[count == 2]))

    def only(self, rows: NDArray[np.bool_]) -> Releases:
        """Return some of the rows."""
        return Releases(self.phi[rows], self.inside[rows], self.shadow[rows])


def attack_rows(units: Mapping[str, Unit], farm: Farm, study: str, store: Store) -> pl.DataFrame:
    """Return the `attacks` rows of a study from the farm's signals, however many of them are there yet.

    Nulls: O, never in the shadow but treated with the same method (does the release leak that an image was ever in?);
    R, an exact retrain (can the release be told from a retrain?). Levels: L0 one threshold on phi, L1 fitted on the
    original shadows, L2 fitted on shadows treated with the same method, the headline.
    """
    rows: list[dict[str, Any]] = []
    for (dataset, architecture), signals in _signals(units, store):
        for (method, config, pool), null, level, results in _attacks(signals, farm.levels, HEADLINE_FPRS):
            about = {
                "study": study,
                "dataset": dataset,
                "scenario": f"audit:{pool}",
                "architecture": architecture,
                "method": method,
                "config": config,
                "pool": pool,
                "null": null,
                "level": level,
            }
            rows += [about | _columns(result) for result in results]
    return pl.DataFrame(rows, schema=_schema(), orient="row")


def roc_curves(units: Mapping[str, Unit], store: Store) -> pl.DataFrame:
    """Return the ROC of the L2 attack: dataset, architecture, method, config, pool, null, fpr, tpr, low, high."""
    rows = [
        (
            dataset,
            architecture,
            *key,
            null,
            float(result.metric.partition("@")[2]),
            result.value,
            result.low,
            result.high,
        )
        for (dataset, architecture), signals in _signals(units, store)
        for key, null, _, results in _attacks(signals, ("L2",), ROC_FPRS)
        for result in results
        if result.metric.startswith("tpr@")
    ]
    names = ["dataset", "architecture", "method", "config", "pool", "null"]
    schema = dict.fromkeys(names, pl.String) | dict.fromkeys(["fpr", "tpr", "low", "high"], pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _signals(units: Mapping[str, Unit], store: Store) -> Iterator[tuple[Cell, dict[Key, Releases]]]:
    """Yield, for each data set and architecture, the releases of every method on every pool."""
    farm_units = [unit.id for unit in units.values() if unit.kind.of_farm]
    table = of_units(store, "signals", farm_units).sort("seed")
    for (dataset, architecture), cell in table.group_by(["dataset", "architecture"], maintain_order=True):
        shadows = {("", "", pool): found for pool, found in _releases(cell, Kind.SHADOW, ["pool"])}
        treated = dict(_releases(cell, Kind.SHADOW_UNLEARN, ["method", "config", "pool"]))
        retrained = dict(_releases(cell, Kind.SHADOW_RETRAIN, ["method", "config", "pool"]))
        yield (str(dataset), str(architecture)), {**shadows, **treated, **retrained}


def _releases(cell: pl.DataFrame, kind: Kind, by: list[str]) -> Iterator[tuple[Any, Releases]]:
    for key, rows in cell.filter(pl.col("kind") == kind.value).group_by(by, maintain_order=True):
        phi, inside = (np.stack(rows[name].to_list()) for name in ("phi", "member"))
        found = Releases(phi.astype(np.float64), inside, rows["seed"].to_numpy()).whole_pairs()
        if len(found.shadow):
            yield (key if len(by) > 1 else key[0]), found


def _attacks(
    signals: Mapping[Key, Releases], levels: Sequence[str], fprs: Sequence[float]
) -> Iterator[tuple[Key, str, str, list[Result]]]:
    for key, releases in sorted(signals.items(), key=lambda item: item[0]):
        method, _, pool = key
        if not method:
            continue
        retrained = next((found for (name, _, p), found in signals.items() if (name, p) == (RETRAIN, pool)), None)
        shadows = signals.get(("", "", pool))
        for level in levels:
            if level == "L1":
                if method != RETRAIN and shadows is not None:  # a retrain does not come from a shadow
                    yield key, "O", level, _by_shadows(releases, shadows, fprs)
                continue
            yield key, "O", level, _against_never_in(releases, level, fprs)
            if level == "L2" and retrained is not None:
                yield key, "R", level, _against_retrain(method, releases, retrained, fprs)


def _against_never_in(releases: Releases, level: Any, fprs: Sequence[float]) -> list[Result]:
    return audit(releases.phi, releases.inside, ~releases.inside, releases.pair, level=level, fprs=fprs)


def _by_shadows(releases: Releases, shadows: Releases, fprs: Sequence[float]) -> list[Result]:
    """Score the releases with a fit on the shadows that they came from, row by row the same shadow."""
    common = np.intersect1d(releases.shadow, shadows.shadow)
    releases = releases.only(np.isin(releases.shadow, common))
    fit = shadows.only(np.isin(shadows.shadow, common)).phi
    inside = releases.inside
    return audit(releases.phi, inside, ~inside, releases.pair, level="L1", fit_phi=fit, fprs=fprs)


def _against_retrain(method: str, releases: Releases, retrained: Releases, fprs: Sequence[float]) -> list[Result]:
    """Attack against null R. Retrain itself is put against other retrains: even shadows against odd ones.

    One of each pair on either side: leaving a pair out of the fit then takes as much from both. Whole pairs on one side
    would make the side that a score belongs to the smaller one, and put the AUC of nothing below 0.5.
    """
    unlearned = releases.inside
    if method == RETRAIN:
        even = releases.shadow % 2 == 0
        releases, retrained = releases.only(even), releases.only(~even)
        unlearned = np.ones_like(releases.inside)
    stacked = stack_retrains(releases.phi, unlearned, releases.pair, retrained.phi, retrained.pair)
    return audit(*stacked, level="L2", fprs=fprs)


def _columns(result: Result) -> dict[str, Any]:
    known = {field.name: getattr(result, field.name) for field in fields(result)}
    return {name: known[name] for name in SCHEMAS["attacks"].names if name in known} | {"flags": " ".join(result.flags)}


def _schema() -> dict[str, pl.DataType]:
    empty = pl.from_arrow(SCHEMAS["attacks"].empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)
