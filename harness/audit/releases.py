"""What the models of a farm say about the audited images, stacked by method and pool.

Which rows of `signals` exist for each design, and what they mean, is said in `harness.farm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.farm import EVERYTHING, POPULATION, TUNING_FIRST, Design, FarmRef, clusters
from harness.farm_deep_unlearn import draw_number
from harness.frames import of_units
from harness.store import Store
from harness.unit import Kind, Unit

RETRAIN = "retrain"
DRAWS = "draws"
"""What the pool of half splits is called, whose draws are audited together."""

Bools = NDArray[np.bool_]
Key = tuple[str, str, str]
"""Method, config and pool."""


@dataclass(frozen=True)
class Releases:
    """N models on E images: phi [N, E] (the mean over the queries), and what each row stands for.

    `unlearned` and `never_in` [N, E]: the two worlds; an image that a release retained is in neither. `shadow` [N]: the
    shadow that a release came from. `cluster` [N]: rows that share one are never in the fit that scores one of them.
    `even` [N]: one half of the rows of each cluster. `population` [N, Z]: phi on test images (Z = 0: not kept).
    """

    phi: NDArray[np.float64]
    unlearned: Bools
    never_in: Bools
    shadow: NDArray[np.int64]
    cluster: NDArray[np.int64]
    even: Bools
    population: NDArray[np.float64]

    def only(self, rows: Bools) -> Releases:
        """Return some of the rows."""
        return Releases(*(getattr(self, field.name)[rows] for field in fields(self)))

    def whole_pairs(self) -> Releases:
        """Return the rows whose partner is there, too: half a pair would make the world that it scores the smaller."""
        cluster, count = np.unique(self.cluster, return_counts=True)
        return self.only(np.isin(self.cluster, cluster[count == 2]))


@dataclass(frozen=True)
class Audited:
    """One method on one pool, and what it is held against.

    `shadows`: the models that the releases were made from, before anything was forgotten; `retrained`: models that
    never saw the pool. None where there are none (yet).
    """

    key: Key
    releases: Releases
    shadows: Releases | None
    retrained: Releases | None
    design: Design = "pairs"

    @property
    def spread(self) -> str:
        """What the models of a world differ in: `conditional`, their seeds; `marginal`, their training images, too."""
        return "conditional" if self.design == "conditional" else "marginal"

    @property
    def is_retrain(self) -> bool:
        """Whether the releases are retrains themselves: the reference, which comes from no shadow."""
        return self.key[0] == RETRAIN


def audited_cells(units: Mapping[str, Unit], store: Store) -> Iterator[tuple[tuple[str, str], list[Audited]]]:
    """Yield, for each data set and architecture, every method on every pool, in order."""
    of_farm = {unit.id: unit.farm for unit in units.values() if unit.kind.of_farm and unit.farm is not None}
    if not of_farm:
        return
    ref = next(iter(of_farm.values()))
    table = of_units(store, "signals", of_farm).filter(pl.col("seed") < TUNING_FIRST)
    for (dataset, architecture), cell in table.group_by(["dataset", "architecture"], maintain_order=True):
        yield (str(dataset), str(architecture)), list(_audited(_by_pool(cell, ref), ref))


def _by_pool(cell: pl.DataFrame, ref: FarmRef) -> pl.DataFrame:
    """Return the rows in the order of shadows and draws, each with phi of its model on the population.

    All draws of half splits are one pool.
    """
    kept = cell.filter(pl.col("pool") == POPULATION, pl.col("query") == "identity")
    cell = cell.filter(pl.col("pool") != POPULATION)
    cell = cell.join(kept.select("unit", pl.col("phi").alias("population")), on="unit", how="left")
    if ref.design != "half_splits":
        return cell.with_columns(draw=pl.lit(0)).sort("seed")
    draw = pl.Series([0 if pool == EVERYTHING else draw_number(pool) for pool in cell["pool"]], dtype=pl.Int64)
    return cell.with_columns(draw=draw, pool=pl.lit(DRAWS)).sort("seed", "draw")


def _audited(cell: pl.DataFrame, ref: FarmRef) -> Iterator[Audited]:
    shadows, treated, retrained = (
        _releases(cell, kind, ref) for kind in (Kind.SHADOW, Kind.SHADOW_UNLEARN, Kind.SHADOW_RETRAIN)
    )
    before = {pool: found for (_, _, pool), found in shadows.items()}
    references = {pool: found for (_, _, pool), found in retrained.items()}
    for key, releases in sorted((treated | retrained).items(), key=lambda item: item[0]):
        yield Audited(key, releases, before.get(key[-1]), references.get(key[-1]), ref.design)


def _releases(cell: pl.DataFrame, kind: Kind, ref: FarmRef) -> dict[Key, Releases]:
    by = ["method", "config", "pool"]
    groups = cell.filter(kind=kind.value).group_by(by, maintain_order=True)
    found = {(str(m), str(c), str(p)): _stacked(rows, ref) for (m, c, p), rows in groups}
    return {key: releases for key, releases in found.items() if len(releases.shadow)}


def _stacked(rows: pl.DataFrame, ref: FarmRef) -> Releases:
    by_query = rows.partition_by("query", maintain_order=True)
    phi = np.mean([_matrix(own["phi"], len(own)).astype(np.float64) for own in by_query], axis=0)
    first = by_query[0]
    shadow, draw = first["seed"].to_numpy(), first["draw"].to_numpy()
    unlearned = _matrix(first["member"], len(first), fill=False)  # null: retained, so in neither world
    inside = _matrix(first["member"], len(first), fill=True)
    halves = draw if ref.design == "half_splits" else shadow
    nobody = np.empty((len(first), 0))
    population = nobody if first["population"].has_nulls() else _matrix(first["population"], len(first))
    found = Releases(phi, unlearned, ~inside, shadow, clusters(ref, shadow), halves % 2 == 0, population)
    return found if ref.design == "half_splits" else found.whole_pairs()


def _matrix(lists: pl.Series, rows: int, fill: Any = None) -> NDArray[Any]:
    """Return lists of one length as [rows, E], nulls filled."""
    flat = lists.explode()
    return (flat if fill is None else flat.fill_null(fill)).to_numpy().reshape(rows, -1)
