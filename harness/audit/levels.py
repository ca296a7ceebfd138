"""U-LiRA on stored releases: the nulls O and R, at the levels of attacker that a study asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.attacks import Result, audit, stack_retrains
from harness.audit.releases import Audited, Releases
from harness.farm import Level

HEADLINE = "L2"

Attack = tuple[str, str, list[Result]]
"""Null, level and results."""
Worlds = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]
"""phi [N, E], U [N, E], O [N, E] and cluster [N], as `harness.attacks.audit` takes them."""


def by_levels(audited: Audited, levels: Iterable[Level], fprs: Sequence[float]) -> Iterator[Attack]:
    """Yield the results of each null and level that can be attacked with what is there.

    Nulls: O, never in the shadow but treated with the same method (does the release leak that an image was ever in?);
    R, an exact retrain (can the release be told from a retrain?). Levels: L0 one threshold on phi, L1 fitted on the
    original shadows, L2 fitted on shadows treated with the same method (the headline), L3 on both at once.
    """
    never_in, retrained = against_never_in(audited.releases), against_retrain(audited)
    for level in levels:
        if level in ("L1", "L3"):
            if never_in is not None and audited.shadows is not None and not audited.is_retrain:
                yield "O", level, _with_shadows(audited.releases, audited.shadows, level, fprs)
        elif never_in is not None:
            yield "O", level, audit(*never_in, level=level, fprs=fprs)
        if level == HEADLINE and retrained is not None:
            yield "R", level, audit(*retrained, fprs=fprs)


def against_never_in(releases: Releases) -> Worlds | None:
    """Return what is attacked against null O; None where every image was in every shadow (a conditional farm)."""
    if not releases.never_in.any():
        return None
    return releases.phi, releases.unlearned, releases.never_in, releases.cluster


def against_retrain(audited: Audited) -> Worlds | None:
    """Return what is attacked against null R; None without retrains. Retrain itself is put against other retrains.

    One half of the retrains then stands against the other, with each cluster on both sides: leaving it out of the fit
    takes as much from both. Otherwise the side that a score belongs to would be the smaller one, and the AUC of nothing
    below 0.5.
    """
    releases, retrained = audited.releases, audited.retrained
    if retrained is None:
        return None
    unlearned = releases.unlearned
    if audited.is_retrain:
        releases, retrained = releases.only(releases.even), releases.only(~releases.even)
        unlearned = releases.unlearned | releases.never_in
    if not len(releases.shadow) or not len(retrained.shadow):
        return None
    phi, u, o, cluster = stack_retrains(releases.phi, unlearned, releases.cluster, retrained.phi, retrained.cluster)
    o[len(releases.phi) :] = retrained.unlearned | retrained.never_in  # not where an image was trained on again
    return phi, u, o, cluster


def _with_shadows(releases: Releases, shadows: Releases, level: Level, fprs: Sequence[float]) -> list[Result]:
    """Attack with the models that the releases were made from, row by row the same shadow."""
    same = releases.only(np.isin(releases.shadow, shadows.shadow))
    before = shadows.phi[np.searchsorted(shadows.shadow, same.shadow)] if len(same.shadow) else same.phi
    worlds = (same.phi, same.unlearned, same.never_in, same.cluster)
    if level == "L1":
        return audit(*worlds, level=level, fit_phi=before, fprs=fprs)
    return audit(*worlds, level=level, before_phi=before, fprs=fprs)
