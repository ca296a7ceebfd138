"""Single images: how strongly each one leaks, and what the models say about a few of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.attacks import Effects, example_effects
from harness.attacks.signal import Floats
from harness.audit.levels import Worlds, against_never_in, against_retrain
from harness.audit.releases import Audited

Row = tuple[Any, ...]


def examples_of(audited: Audited) -> tuple[list[Row], list[Row]]:
    """Return the effect of every image, and the signals of a few, as rows of `drawn.EFFECTS` and `drawn.WORLDS`.

    The effects are against null O or, in a conditional farm, against null R. Shown are the images with the largest, the
    median and the smallest one, model by model; worlds: U unlearned, O never in, R retrained.
    """
    found = _worlds(audited)
    if found is None:
        return [], []
    null, worlds = found
    effects = example_effects(*worlds)
    return list(_effects(null, effects)), list(_signals(audited, effects.d))


def _effects(null: str, effects: Effects) -> Iterator[Row]:
    columns = (effects.d, effects.se, effects.p_value)
    for example, (*numbers, flagged) in enumerate(zip(*columns, effects.flagged(), strict=True)):
        yield null, example, *(None if np.isnan(x) else float(x) for x in numbers), bool(flagged)


def _signals(audited: Audited, d: Floats) -> Iterator[Row]:
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
