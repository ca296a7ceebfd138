"""RMIA: the share of population examples that a model favours less than the audited one.

Zarifzadeh et al. 2024 (arXiv 2312.03262); useful from one reference model upward. On plain arrays:

    target             [n] or [T, n]  phi of the attacked models
    population_target  [Z] or [T, Z]  phi of the same models on examples that no model was trained on
    phi                [N, n]         phi of N reference models, none of which is attacked
    inside             [N, n]         True where the reference was trained on the example (IN)
    population_phi     [N, Z]         phi of the references on the population

All is computed with log p, p = sigmoid(phi) being the probability of the label, so that no p underflows.
The paper's other confidences (a softmax with a temperature, Taylor softmax) are not offered: they need every
logit, and phi alone is stored.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError
from harness.attacks.lira import check_references
from harness.attacks.signal import Bools, Floats, clip_phi, loss_from_phi, refuse_nan

OFFLINE_A = tuple(i / 10 for i in range(11))
"""The candidates of `tune_offline_a`."""


def rmia(
    target: npt.ArrayLike,
    population_target: npt.ArrayLike,
    phi: npt.ArrayLike,
    inside: npt.ArrayLike,
    population_phi: npt.ArrayLike,
    *,
    variant: Literal["online", "offline"] = "online",
    a: float | None = None,
    gamma: float = 1.0,
    ml_privacy_meter: bool = False,
) -> Floats:
    """Return Pr_z[ r_x / r_z > gamma ] with r_x = p(x | target) / p(x), over the population z.

    online:  p(x) = (mean over IN + mean over OUT) / 2, and the mean over all references for the population.
    offline: p(x) = ((1 + a) * mean over OUT + (1 - a)) / 2, for the population as well.

    A NaN is left out of the means and of the population. A target of NaN, or without any population, scores
    0.5: a model without a signal tells nothing.

    Args:
        target, population_target, phi, inside, population_phi: see the module.
        a: required offline and meaningless online, in [0, 1]; see `tune_offline_a`.
        gamma: > 0; 1 in the released code.
        ml_privacy_meter: average as the authors' library of that name does (offline only, no NaN): the
            k = N // 2 largest probabilities, an IN one counting as 0. The population, which is OUT of all
            references, gets too large a mean that way, an example with fewer than k OUT ones too small a one.

    Returns:
        float64 of the shape of `target`, in [0, 1]; higher = more likely a member. NaN in the whole column
        of an example that lacks references (OUT; online IN too), as in `ulira`.

    Raises:
        AttackError: shapes or options do not fit.
    """
    x, y, members = check_references(target, phi, inside)
    z, w = _check_population(population_target, population_phi, x, y)
    _check_options(variant, a, gamma, ml_privacy_meter)
    nobody = np.zeros(w.shape, dtype=np.bool_)
    if ml_privacy_meter:
        _check_no_nan(phi=y, population_phi=w)
        mean_x, mean_z = _log_top_half(y, members), _log_top_half(w, nobody)
    else:
        mean_x, mean_z = _log_mean(y, ~members), _log_mean(w, ~nobody)
    if a is not None:
        mean_x, mean_z = _log_offline(mean_x, a), _log_offline(mean_z, a)
    else:
        mean_x = log_add(mean_x, _log_mean(y, members)) - np.log(2.0)
    scores = np.array([share(*rows, gamma) for rows in zip(log_p(x) - mean_x, log_p(z) - mean_z, strict=True)])
    scores = np.where(np.isnan(mean_x), np.nan, scores.reshape(x.shape))
    return scores.reshape(np.shape(target))


def tune_offline_a(
    target: npt.ArrayLike,
    population_target: npt.ArrayLike,
    members: npt.ArrayLike,
    phi: npt.ArrayLike,
    inside: npt.ArrayLike,
    population_phi: npt.ArrayLike,
    *,
    gamma: float = 1.0,
) -> float:
    """Return the `a` of OFFLINE_A with the largest AUC of offline `rmia` on a model whose members are known.

    The model is a reference that plays the target, [n] and [Z], and is not among the rows of phi; tuning on
    the attacked model itself would use what the attack has to find out. The smallest `a` wins a tie.

    Args:
        members: [n] True where that model was trained on the example.

    Raises:
        AttackError: shapes do not fit, or members or non-members are missing.
    """
    truth = np.asarray(members, dtype=np.bool_)
    if truth.ndim != 1 or np.shape(target) != truth.shape:
        raise AttackError(f"members {list(truth.shape)}, target {list(np.shape(target))}; tuning needs both as [n]")
    aucs = []
    for a in OFFLINE_A:
        scores = rmia(target, population_target, phi, inside, population_phi, variant="offline", a=a, gamma=gamma)
        known = ~np.isnan(scores)
        aucs.append(auc(scores[known & truth], scores[known & ~truth]))
    return OFFLINE_A[int(np.argmax(aucs))]


def log_p(phi: Floats) -> Floats:
    """Return log p of the label."""
    with np.errstate(invalid="ignore"):  # NaN, a diverged model, passes through
        return -loss_from_phi(phi)


def log_add(x: Floats, y: npt.ArrayLike) -> Floats:
    """Return log(e^x + e^y)."""
    with np.errstate(invalid="ignore"):  # NaN, an example without references, passes through
        return np.asarray(np.logaddexp(x, y), dtype=np.float64)


def _log_mean(phi: Floats, world: Bools) -> Floats:
    """Return log of the mean probability [n] over the cells of the world, NaN where it has none."""
    known = world & ~np.isnan(phi)
    count = known.sum(axis=0)
    return log_mean(np.logaddexp.reduce(np.where(known, log_p(phi), -np.inf), axis=0), count)


def log_mean(log_total: Floats, count: npt.NDArray[np.int64]) -> Floats:
    """Return log of total / count, NaN where that is of none."""
    mean: Floats = np.where(count > 0, log_total - np.log(np.maximum(count, 1)), np.nan)
    return mean


def _log_top_half(phi: Floats, inside: Bools) -> Floats:
    k = len(phi) // 2
    out = np.where(inside, -np.inf, log_p(phi))
    mean: Floats = np.logaddexp.reduce(np.sort(out, axis=0)[len(phi) - k :], axis=0) - np.log(k)
    return mean


def _log_offline(log_mean: Floats, a: float) -> Floats:
    with np.errstate(divide="ignore"):  # log 0 at a = 1, where the second term vanishes
        return log_add(log_mean + np.log((1 + a) / 2), np.log((1 - a) / 2))


def share(x: Floats, z: Floats, gamma: float) -> Floats:
    """Return for each log ratio of x [n] the share of those of z [Z] that are smaller by more than log gamma."""
    ordered = np.sort(z[~np.isnan(z)])
    if not ordered.size:
        return np.full(x.shape, 0.5)
    beaten = np.searchsorted(ordered, x - np.log(gamma), side="left") / ordered.size
    return np.where(np.isnan(x), 0.5, beaten)


def _check_population(
    population_target: npt.ArrayLike, population_phi: npt.ArrayLike, x: Floats, y: Floats
) -> tuple[Floats, Floats]:
    z, w = np.atleast_2d(clip_phi(population_target)), clip_phi(population_phi)
    if z.ndim != 2 or w.ndim != 2 or z.shape != (len(x), w.shape[1]) or len(w) != len(y) or not w.shape[1]:
        raise AttackError(
            f"population_target {list(z.shape)}, population_phi {list(w.shape)}; they are "
            f"[{len(x)}, Z] and [{len(y)}, Z] with Z >= 1, beside target and phi"
        )
    return z, w


def _check_options(variant: str, a: float | None, gamma: float, ml_privacy_meter: bool) -> None:
    if variant not in ("online", "offline"):
        raise AttackError(f"unknown variant {variant!r}; RMIA is online or offline")
    if (a is None) != (variant == "online"):
        raise AttackError(f"a is {a}; offline needs it (see tune_offline_a), online has none")
    if a is not None and not 0.0 <= a <= 1.0:
        raise AttackError(f"a is {a}; it lies between 0 and 1")
    check_gamma(gamma)
    if ml_privacy_meter and variant == "online":
        raise AttackError("ml_privacy_meter is offline only; use variant='offline' with an a")


def check_gamma(gamma: float) -> None:
    """Raise AttackError unless gamma is positive and finite."""
    if not 0.0 < gamma < np.inf:
        raise AttackError(f"gamma is {gamma}; it is positive and finite")


def _check_no_nan(**arrays: Floats) -> None:
    for name, values in arrays.items():
        refuse_nan(name, values, "ml_privacy_meter knows no NaN")
        if len(values) < 2:
            raise AttackError(f"{name} has {len(values)} rows; ml_privacy_meter keeps half of at least 2")
