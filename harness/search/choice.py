"""Which suggestion of a search is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.search.stream import Stream


@dataclass(frozen=True)
class Best:
    """A suggestion: its stream, its number in it, and the norm of its objectives."""

    stream: Stream
    number: int
    norm: float


def best_of(results: Mapping[Stream, Sequence[tuple[float, ...]]]) -> Best | None:
    """Return the suggestion whose objectives [suggestions][4] have the least Euclidean norm, over all streams.

    With a stream for each seed this is the choice of Deep Unlearn's released code: the best of each seed, then the
    best of those. Of equal ones the first counts. None if no suggestion is usable, all being infinite.
    """
    found = [
        Best(stream, number, math.hypot(*objectives))
        for stream, of_stream in results.items()
        for number, objectives in enumerate(of_stream)
        if all(map(math.isfinite, objectives))
    ]
    return min(found, key=lambda best: best.norm, default=None)
