"""Variances of few observations: empirical-Bayes shrinkage and the Student-t predictive density.

With 16 or 32 shadow models the sample variance of one example is the weakest part of a likelihood ratio.
Shrinking it towards the variances of all examples (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3) needs no
switch between "per-example" and "global" variance: the data choose the weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.errors import AttackError
from harness.attacks.signal import Floats
from harness.errors import did_you_mean

Integers = npt.NDArray[np.int64]

Variance = Literal["per_example", "pooled", "moderated", "moderated_common"]
"""per_example: each example's own, per world. pooled: one per world. moderated: shrunk from the first towards
a prior fitted to all examples, per world. moderated_common: the same, with one variance for both worlds."""

VARIANCES: tuple[str, ...] = get_args(Variance)

_RELATIVE_FLOOR = 1e-5
_NO_SPREAD = 1e-6  # a prior of more than 2e6 degrees of freedom is a normal distribution up to rounding


def check_variance(variance: str) -> None:
    """Raise AttackError unless the name is one of VARIANCES."""
    if variance not in VARIANCES:
        raise AttackError(f"unknown variance {variance!r}{did_you_mean(variance, VARIANCES)}")


@dataclass(frozen=True)
class Prior:
    """Scaled inverse chi-square prior of a variance: `df` degrees of freedom around `variance`, each [G].

    df = 0 is no shrinkage at all, df = inf gives every example the same variance.
    """

    df: Floats
    variance: Floats


def fit_prior(variances: npt.ArrayLike, df: npt.ArrayLike) -> Prior:
    """Fit the prior by the moments of the log variances (Smyth 2004, section 6.2).

    Args:
        variances: [G, E] positive sample variances of E examples, in G independent problems.
        df: [G, E] integers >= 1, their degrees of freedom.

    Returns:
        G priors. A spread of log variances no larger than sampling alone explains gives df = inf, and then
        the variance pooled over the examples; a single example (E = 1) cannot tell, and keeps its own
        (df = 0).
    """
    from scipy.special import digamma, polygamma

    s2, d = np.asarray(variances, dtype=np.float64), np.asarray(df, dtype=np.int64)
    if s2.shape[1] == 1:
        return Prior(np.zeros(len(s2)), s2[:, 0].copy())
    half = np.arange(d.min(), d.max() + 1) / 2  # few distinct values: tabulate the special functions
    level = np.log(s2) - (digamma(half) - np.log(half))[d - d.min()]
    excess = level.var(axis=1, ddof=1) - polygamma(1, half)[d - d.min()].mean(axis=1)
    d0 = np.full(len(s2), np.inf)
    s0 = (d * s2).sum(axis=1) / d.sum(axis=1)
    spread = excess > _NO_SPREAD
    h0 = trigamma_inverse(excess[spread])
    d0[spread] = 2 * h0
    s0[spread] = np.exp(level[spread].mean(axis=1) + digamma(h0) - np.log(h0))
    return Prior(d0, s0)


def trigamma_inverse(values: npt.ArrayLike) -> Floats:
    """Return y > 0 with trigamma(y) = x, for x > 0: Newton's method on 1/trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x = np.asarray(values, dtype=np.float64)
    y = 0.5 + 1.0 / x  # below the root, and 1/trigamma is convex: every step stays on one side
    for _ in range(50):
        trigamma = polygamma(1, y)
        step = trigamma * (1.0 - trigamma / x) / polygamma(2, y)
        y = y + step
        if np.all(np.abs(step) <= 1e-10 * y):
            break
    return y


def shrink(variances: Floats, df: Integers, variance: str, smallest: float) -> tuple[Floats, Prior]:
    """Return the posterior variances [G, E] and the prior that they were shrunk towards.

    Args:
        variances: [G, E] sample variances.
        df: [G, E] their degrees of freedom, >= 1.
        variance: one of VARIANCES.
        smallest: variances are floored here and at 1e-5 of their median, so that an example on which all
            models agree to the last bit neither divides by zero nor dominates the prior.
    """
    floor = np.maximum(_RELATIVE_FLOOR * np.median(variances, axis=1, keepdims=True), smallest)
    s2 = np.maximum(variances, floor)
    if variance == "per_example":
        prior = Prior(np.zeros(len(s2)), np.zeros(len(s2)))
    elif variance == "pooled":
        prior = Prior(np.full(len(s2), np.inf), (df * s2).sum(axis=1) / df.sum(axis=1))
    else:
        prior = fit_prior(s2, df)
    # (d0 s0 + df s2) / (d0 + df), written so that d0 = inf is not a special case
    own = df / (prior.df[:, None] + df)
    return (1.0 - own) * prior.variance[:, None] + own * s2, prior


@dataclass(frozen=True)
class Predictive:
    """Student-t distribution of a new observation of each example, in G independent fits; arrays [G, E]."""

    mean: Floats
    squared_scale: Floats
    df: Floats
    log_normaliser: Floats

    def log_density(self, x: Floats, fit: Integers) -> Floats:
        """Return the log density of x [N, E], row i under the fit number fit[i]."""
        q = (x - self.mean[fit]) ** 2 / self.squared_scale[fit]
        return self.log_normaliser[fit] - _log_kernel(q, self.df[fit])


def predictive(mean: Floats, count: Floats, posterior: Floats, df: Integers, prior: Prior) -> Predictive:
    """Return the predictive t: prior.df + df degrees of freedom, squared scale posterior * (1 + 1/count)."""
    squared_scale = posterior * (1.0 + 1.0 / count)
    log_normaliser = _log_normaliser(df, prior) - 0.5 * np.log(squared_scale)
    return Predictive(mean, squared_scale, prior.df[:, None] + df, log_normaliser)


def _log_normaliser(df: Integers, prior: Prior) -> Floats:
    from scipy.special import gammaln

    first = int(df.min())
    nu = prior.df[:, None] + np.arange(first, int(df.max()) + 1)  # [G, distinct df]
    with np.errstate(invalid="ignore"):  # inf - inf where nu is inf, replaced below
        table = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    table = np.where(np.isinf(nu), -0.5 * np.log(2 * np.pi), table)
    return np.asarray(np.take_along_axis(table, df - first, axis=1), dtype=np.float64)


def _log_kernel(q: Floats, nu: Floats) -> Floats:
    finite = np.isfinite(nu)
    with np.errstate(invalid="ignore"):  # inf * 0 where nu is inf, replaced below
        kernel: Floats = 0.5 * (nu + 1.0) * np.log1p(q / nu)
    return kernel if finite.all() else np.where(finite, kernel, 0.5 * q)
