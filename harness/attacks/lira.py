"""LiRA: was this example in the training set of this model? The likelihood ratio against shadow models.

Carlini et al. 2022 (arXiv 2112.03570). On plain arrays:

    target  [n] or [T, n]  phi of the attacked models, none of which is among the shadows
    phi     [N, n]         phi of the same examples on N shadow models
    inside  [N, n]         True where the shadow was trained on the example (IN), False where not (OUT)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Bools, Floats, clip_phi, refuse_nan
from harness.attacks.student import (
    NEUTRAL,
    LiraVariant,
    Predictive,
    Variance,
    check_variant,
    compare,
    predictive,
    shrink,
)
from harness.attacks.ulira import MIN_OBSERVATIONS

_ROUNDING = 1e-12
_REFERENCE_FLOOR = 1e-30


def lira(
    target: npt.ArrayLike,
    phi: npt.ArrayLike,
    inside: npt.ArrayLike,
    *,
    variant: LiraVariant = "online",
    variance: Variance = "moderated",
) -> Floats:
    """Return the LiRA score of every example on every target model; higher = more likely a member.

    Means and variances are those of the shadows, each density is the Student-t predictive of `student`; the
    offline z is the distance from the mean of OUT in units of its predictive scale. The targets must not be
    among the shadows: a score fitted with its own observation rewards itself (`ulira` attacks a farm whose
    models are targets as well).

    A phi of NaN is left out of the fit; a target of NaN gets what an uninformative one would get: equal odds
    (0) online, and offline the mean of z (0) or of its square (1) over non-members. Infinite phi are clipped.

    Args:
        target, phi, inside: see the module.
        variant: one of LIRA_VARIANTS; the offline ones never read the IN cells.
        variance: one of `student.VARIANCES`; `moderated_common` needs both worlds, hence the online variant.

    Returns:
        float64 of the shape of `target`: nats online, no unit offline. NaN in the whole column of an example
        with fewer than MIN_OBSERVATIONS shadows in a world that the variant reads, as in `ulira`.

    Raises:
        AttackError: shapes do not fit, or a name is unknown or does not go with the other.
    """
    check_variant(variant, variance)
    x, y, members = check_references(target, phi, inside)
    known = ~np.isnan(y)
    out = known & ~members
    worlds = [known & members, out] if variant == "online" else [out]
    enough = np.all([world.sum(axis=0) >= MIN_OBSERVATIONS for world in worlds], axis=0)
    scores = np.full(x.shape, np.nan)
    if enough.any():
        scores[:, enough] = _score(x[:, enough], y[:, enough], [w[:, enough] for w in worlds], variant, variance)
    return scores.reshape(np.shape(target))


def check_references(target: npt.ArrayLike, phi: npt.ArrayLike, inside: npt.ArrayLike) -> tuple[Floats, Floats, Bools]:
    """Return target as [T, n], phi and inside as [N, n], clipped and converted.

    Raises:
        AttackError: the shapes differ from these.
    """
    x, y, members = clip_phi(target), clip_phi(phi), np.asarray(inside, dtype=np.bool_)
    if y.ndim != 2 or members.shape != y.shape or x.ndim not in (1, 2) or x.shape[-1] != y.shape[1]:
        raise AttackError(
            f"target {list(x.shape)}, phi {list(y.shape)}, inside {list(members.shape)}; "
            "they are [n] or [T, n], [N, n] and [N, n]"
        )
    return np.atleast_2d(x), y, members


def _score(x: Floats, y: Floats, worlds: Sequence[Bools], variant: str, variance: str) -> Floats:
    # around the median, a column on which all shadows agree has a spread of exactly 0
    centre = np.nanmedian(np.where(np.any(worlds, axis=0), y, np.nan), axis=0)
    x, y = x - centre, y - centre
    fits = _fit(x, y, worlds, variance)
    fit = np.zeros(len(x), dtype=np.int64)
    scores = compare(variant, x, (fits[0], fit), (fits[-1], fit))
    return np.where(np.isnan(x), NEUTRAL[variant], scores)


def _fit(x: Floats, y: Floats, worlds: Sequence[Bools], variance: str) -> list[Predictive]:
    count = np.array([world.sum(axis=0) for world in worlds])  # [worlds, n]
    mean = np.array([np.sum(y, axis=0, where=world) for world in worlds]) / count
    squares = np.array([np.sum((y - m) ** 2, axis=0, where=w) for w, m in zip(worlds, mean, strict=True)])
    df = count - 1
    if variance == "moderated_common":
        squares, df = (np.broadcast_to(a.sum(axis=0), count.shape) for a in (squares, df))
    scale = max(float(np.mean(a[~np.isnan(a)] ** 2)) if not np.isnan(a).all() else 0.0 for a in (x, y))
    smallest = max(_ROUNDING * scale, float(np.finfo(np.float64).tiny))
    fits = []
    for world in range(len(worlds)):
        one = slice(world, world + 1)  # shrink and predictive take a leading axis of independent fits
        posterior, prior = shrink(squares[one] / df[one], df[one], variance, smallest)
        fits.append(predictive(mean[one], count[one].astype(np.float64), posterior, df[one], prior))
    return fits


def lira_reference(
    target: npt.ArrayLike,
    phi: npt.ArrayLike,
    inside: npt.ArrayLike,
    *,
    variant: Literal["online", "offline"] = "online",
    fix_variance: bool = False,
) -> Floats:
    """Return the score that the authors' released code computes, for comparison with published numbers.

    It differs from `lira` in that the densities are normal around the *median*, with the *population*
    standard deviation (+ 1e-30), and every example keeps only its first k rows of a world, k being the
    smallest count of that world over the examples. With `fix_variance` both worlds share one standard
    deviation, of all kept IN cells (offline: OUT) together and not centred per example, so that differences
    between examples inflate it. `offline` is minus the log density under OUT, a two-sided score.

    Args:
        target, phi, inside: see the module.

    Returns:
        float64 of the shape of `target`, in nats; higher = more likely a member (the released code has the
        opposite sign).

    Raises:
        AttackError: shapes do not fit, a phi is not finite, an example lacks a world, or the variant is
            unknown.
    """
    if variant not in ("online", "offline"):
        raise AttackError(f"unknown variant {variant!r}; the released code has online and offline")
    x, y, members = check_references(target, phi, inside)
    for name, values in (("target", x), ("phi", y)):
        refuse_nan(name, values, "`lira` can leave NaN out")
    out = _first_rows(y, ~members, "OUT")
    if variant == "offline":
        spread = np.std(out) if fix_variance else np.std(out, axis=0)
        return -_log_normal(x, out, spread).reshape(np.shape(target))
    kept = _first_rows(y, members, "IN")
    spreads = [np.std(kept)] * 2 if fix_variance else [np.std(kept, axis=0), np.std(out, axis=0)]
    ratio = _log_normal(x, kept, spreads[0]) - _log_normal(x, out, spreads[1])
    return ratio.reshape(np.shape(target))


def _first_rows(y: Floats, world: Bools, name: str) -> Floats:
    count = world.sum(axis=0)
    if not count.all():
        raise AttackError(f"example {int(np.argmin(count))} has no {name} row in phi; every example needs one")
    order = np.argsort(~world, axis=0, kind="stable")[: count.min()]
    return np.take_along_axis(y, order, axis=0)


def _log_normal(x: Floats, rows: Floats, spread: npt.ArrayLike) -> Floats:
    scale = np.asarray(spread, dtype=np.float64) + _REFERENCE_FLOOR
    z = (x - np.median(rows, axis=0)) / scale
    density: Floats = -(z**2) / 2 - np.log(np.sqrt(2 * np.pi)) - np.log(scale)
    return density
