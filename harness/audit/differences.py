"""Is one method's leak larger than another's? Both come from the same shadows, so their difference is paired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.attacks import Result, audit, benjamini_hochberg, paired_difference
from harness.audit.levels import Worlds, against_never_in, against_retrain
from harness.audit.releases import Audited, audited_cells
from harness.errors import HarnessError, did_you_mean
from harness.store import Store
from harness.unit import Unit

_TEXTS = ("dataset", "architecture", "pool", "null", "method", "config")
_NUMBERS = ("difference", "se", "low", "high", "p_value")


class NotAudited(HarnessError):
    """A method of which the farm has no releases."""


def differences(units: Mapping[str, Unit], store: Store, against: str) -> pl.DataFrame:
    """Return the AUC (level L2) of every method minus that of the method `against`, by pool and null.

    Columns: dataset, architecture, pool, null, method, config, difference, se, low, high, p_value, p_adjusted. The
    intervals (95 %) come from the paired jackknife over the clusters that both methods have, the adjusted p values
    control the false-discovery rate over all rows. Raises `NotAudited` where nothing of `against` is there.
    """
    rows: list[tuple[Any, ...]] = []
    names: set[str] = set()
    for cell, methods in audited_cells(units, store):
        names |= {audited.key[0] for audited in methods}
        references = {audited.key[-1]: audited for audited in methods if audited.key[0] == against}
        for audited in methods:
            method, config, pool = audited.key
            if method != against and pool in references:
                rows += [(*cell, pool, null, method, config, *row) for null, *row in _of(audited, references[pool])]
    if against not in names:
        raise NotAudited(f"no releases of {against!r} in the farm{did_you_mean(against, names)}")
    schema = dict.fromkeys(_TEXTS, pl.String()) | dict.fromkeys(_NUMBERS, pl.Float64())
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    adjusted = pl.Series(benjamini_hochberg(frame["p_value"].to_list()), dtype=pl.Float64)
    return frame.with_columns(p_adjusted=adjusted)


def _of(audited: Audited, reference: Audited) -> Iterator[tuple[Any, ...]]:
    """Yield null, difference, se, low, high and p value for each null that both can be held against."""
    both = (
        ("O", against_never_in(audited.releases), against_never_in(reference.releases)),
        ("R", against_retrain(audited), against_retrain(reference)),
    )
    for null, first, second in both:
        if first is None or second is None:
            continue
        common = np.intersect1d(first[-1], second[-1])
        one, other = (_result(worlds, common) for worlds in (first, second))
        if one.value is None or other.value is None or one.replicates is None or other.replicates is None:
            continue
        found = paired_difference(one.value, one.replicates, other.value, other.replicates)
        if found is not None:
            yield null, found.value, found.se, found.low, found.high, found.p_value


def _result(worlds: Worlds, clusters: NDArray[Any]) -> Result:
    phi, u, o, cluster = worlds
    rows = np.isin(cluster, clusters)
    return audit(phi[rows], u[rows], o[rows], cluster[rows], fprs=(), keep_replicates=True)[0]
