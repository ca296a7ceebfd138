"""The table `searches`: every trial with its objectives, and which one was chosen."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harness.origin import Chosen, Suggested
from harness.search.objectives import OBJECTIVES, norm
from harness.search.searches import Searches
from harness.search.stream import Stream, stream_of
from harness.store import Store
from harness.store.schemas import polars_schema
from harness.unit import Unit


def search_rows(units: Mapping[str, Unit], study: str, store: Store) -> pl.DataFrame:
    """Return the `searches` rows of a study: one for each trial that ended with a result.

    The objectives are those of the trial itself; `norm` is what it is chosen by, over the means of the seeds that its
    suggestion is tried on.
    """
    trials = [unit for unit in units.values() if isinstance(unit.origin, Suggested)]
    committed = store.committed()
    done = [unit for unit in trials if unit.id in committed]
    if not done:
        return polars_schema("searches").to_frame()
    searches = Searches(units.values(), store)
    chosen = _chosen(units, searches)
    found = zip(done, searches.objectives(done), strict=True)
    rows = pl.DataFrame([_row(unit, study, chosen) | of_unit for unit, of_unit in found], infer_schema_length=None)
    suggestion = ("dataset", "scenario", "architecture", "method", "seeds", "config")
    means = (pl.col(name).mean().over(suggestion) for name in OBJECTIVES)
    complete = (norm().is_not_null().sum() == pl.col("tried_on").first()).over(suggestion)
    norms = rows.select(*means, complete=complete).select(norm=pl.when("complete").then(norm()))
    schema = polars_schema("searches")
    return rows.with_columns(norms["norm"]).select(schema.names()).cast(schema)


def _row(unit: Unit, study: str, chosen: set[tuple[Stream, int]]) -> dict[str, object]:
    origin = unit.origin
    assert isinstance(origin, Suggested)
    return unit.columns() | {
        "study": study,
        "sampler": origin.sampler,
        "seeds": ",".join(map(str, origin.seeds)),
        "tried_on": len(origin.seeds),
        "number": origin.number,
        "generation": origin.generation,
        "chosen": (stream_of(unit), origin.number) in chosen,
    }


def _chosen(units: Mapping[str, Unit], searches: Searches) -> set[tuple[Stream, int]]:
    best = (searches.best(unit) for unit in units.values() if isinstance(unit.origin, Chosen))
    return {(found.stream, found.number) for found in best if found is not None}
