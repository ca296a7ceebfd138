"""How the audit grows with the farm: the AUC on a part of the shadows, beside what the power curve predicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks import effect_of_auc, expected_auc, growth, smallest_detectable_effect
from harness.audit.levels import against_never_in
from harness.audit.releases import Audited

SMALLEST = 8
"""Rows; fewer leave too few observations in a world."""


def growth_of(audited: Audited) -> Iterator[tuple[Any, ...]]:
    """Yield rows of `drawn.GROWTH` against null O on the first 8, 16, 32, ... rows, and on all of them.

    `expected` is the AUC that N rows would show of the effect seen with all of them, `detectable` the smallest one that
    they tell from 0.5 with 80 % power, both by `harness.attacks.power`.
    """
    worlds = against_never_in(audited.releases)
    if worlds is None:
        return
    phi, *_, cluster = worlds
    sizes = _sizes(cluster)
    results = [result for result in growth(*worlds, sizes) if result.value is not None] if sizes else []
    if not results:
        return
    whole = results[-1]
    assert whole.value is not None
    effect = effect_of_auc(max(whole.value, 1 - whole.value), whole.n)
    for result in results:
        expected = expected_auc(effect, result.n)
        smallest = smallest_detectable_effect(result.n, phi.shape[1])
        yield (
            "O",
            result.n,
            result.value,
            result.low,
            result.high,
            expected if whole.value >= 0.5 else 1 - expected,
            expected_auc(smallest, result.n) if np.isfinite(smallest) else None,
        )


def _sizes(cluster: NDArray[np.int64]) -> list[int]:
    """Return the numbers of rows in the first clusters together that come nearest above 8, 16, 32, ..., and all."""
    ends = np.cumsum(np.unique(cluster, return_counts=True)[1])
    wanted = SMALLEST * 2 ** np.arange(32)
    reached = np.searchsorted(ends, wanted[wanted <= ends[-1]])
    return sorted({int(ends[at]) for at in reached} | {int(ends[-1])}) if ends[-1] >= SMALLEST else []
