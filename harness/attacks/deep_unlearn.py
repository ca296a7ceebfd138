# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""The U-LiRA of Deep Unlearn's released code, for comparison with what that code prints; not an audit.

It fits Gaussians to whether an image was classified correctly, a 0/1 value, and scores the very observations that it
fitted. `ulira` is what is meant by the name elsewhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.attacks.design import check_mask, refuse_overlap
from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats


def ulira_deep_unlearn(correct: npt.ArrayLike, U: npt.ArrayLike, O: npt.ArrayLike) -> Floats:
    """Return N(z; U) / (N(z; U) + N(z; O)), the published membership probability, of every forgotten observation.

    The mean and the population standard deviation of each world are those of all its observations, the scored one
    among them. Observations of never-seen images are not scored.

    Args:
        correct: [N, E], whether the model classified the image correctly.
        U: [N, E], True where the model forgot the image.
        O: [N, E], True where the model never saw it.

    Returns:
        float64 [N, E] in [0, 1]; NaN outside U, and in the column of an image on which all models of a world agree:
        its standard deviation is 0, and the released code has no number either.

    Raises:
        AttackError: the shapes differ, an array holds other values than 0 and 1, the worlds overlap, or an image has no
            observation in one.
    """
    right, worlds = _checked(correct, U, O)
    (forgot, sd_forgot), (never, sd_never) = (_gaussian(right, world) for world in worlds)
    known = (sd_forgot > 0) & (sd_never > 0)
    u, o = (_density(right, mean, np.where(known, sd, 1.0)) for mean, sd in ((forgot, sd_forgot), (never, sd_never)))
    return np.where(worlds[0] & known, u / (u + o), np.nan)


def _gaussian(right: Bools, world: Bools) -> tuple[Floats, Floats]:
    mean = np.sum(right, axis=0, where=world) / world.sum(axis=0)
    return mean, np.sqrt(mean * (1 - mean))  # of values 0 and 1; exactly 0 where all agree


def _density(values: Bools, mean: Floats, sd: Floats) -> Floats:
    density: Floats = np.exp(-(((values - mean) / sd) ** 2) / 2) / sd  # less the factor that the ratio loses
    return density


def _checked(correct: npt.ArrayLike, u: npt.ArrayLike, o: npt.ArrayLike) -> tuple[Bools, tuple[Bools, Bools]]:
    right, worlds = check_mask("correct", correct), (check_mask("U", u), check_mask("O", o))
    for name, world in zip("UO", worlds, strict=True):
        if right.ndim != 2 or world.shape != right.shape:
            raise AttackError(f"{name} is {list(world.shape)} where correct is {list(right.shape)}; they are [N, E]")
        if not world.any(axis=0).all():
            raise AttackError(f"example {int(np.argmin(world.any(axis=0)))} has no row in {name}; every one needs one")
    refuse_overlap(*worlds)
    return right, worlds
