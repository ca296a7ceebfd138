"""Single images: how strongly each one leaks, and what the models say about a few of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.attacks import example_effects
from harness.audit.levels import Worlds, against_never_in, against_retrain
from harness.audit.releases import Audited

EFFECTS = ("null", "example", "d", "se", "p_value", "flagged")
SIGNALS = ("example", "world", "phi")

Row = tuple[Any, ...]


def effects_of(audited: Audited) -> Iterator[Row]:
    """Yield EFFECTS of every image, against null O or, in a conditional farm, against null R."""
    found = _worlds(audited)
    if found is None:
        return
    null, worlds = found
    effects = example_effects(*worlds)
    columns = (effects.d, effects.se, effects.p_value)
    for example, (*numbers, flagged) in enumerate(zip(*columns, effects.flagged(), strict=True)):
        yield null, example, *(None if np.isnan(x) else float(x) for x in numbers), bool(flagged)


def signals_of(audited: Audited) -> Iterator[Row]:
    """Yield SIGNALS of the images with the largest, the median and the smallest effect, model by model.

    Worlds: U unlearned, O never in, R retrained.
    """
    found = _worlds(audited)
    if found is None:
        return
    d = example_effects(*found[1]).d
    order = np.argsort(d, kind="stable")[: np.count_nonzero(~np.isnan(d))]  # NaN sorts last
    releases, retrained = audited.releases, audited.retrained
    worlds = [("U", releases.phi, releases.unlearned), ("O", releases.phi, releases.never_in)]
    if retrained is not None and not audited.is_retrain:
        worlds.append(("R", retrained.phi, retrained.unlearned | retrained.never_in))
    for example in dict.fromkeys(int(order[place]) for place in (-1, len(order) // 2, 0) if len(order)):
        for world, phi, members in worlds:
            for value in phi[members[:, example], example]:
                yield example, world, float(value)


def _worlds(audited: Audited) -> tuple[str, Worlds] | None:
    for null, worlds in (("O", against_never_in(audited.releases)), ("R", against_retrain(audited))):
        if worlds is not None:
            return null, worlds
    return None
