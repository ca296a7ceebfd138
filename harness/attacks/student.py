"""Variances of few observations: empirical-Bayes shrinkage and the Student-t predictive density.

With 16 or 32 shadow models the sample variance of one example is the weakest part of a likelihood ratio.
Shrinking it towards the variances of all examples (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3) needs no
switch between "per-example" and "global" variance: the data choose the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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

LiraVariant = Literal["online", "offline_1s", "offline_2s"]
"""online: log p(phi | IN) - log p(phi | OUT). offline_1s: z of phi under OUT, where only higher is suspicious.
offline_2s: z squared, where any distance is (over-forgetting shows as a negative z)."""

LIRA_VARIANTS: tuple[str, ...] = get_args(LiraVariant)

NEUTRAL: Mapping[str, float] = MappingProxyType({"online": 0.0, "offline_1s": 0.0, "offline_2s": 1.0})
"""What a model without a signal scores: equal odds, and offline the mean of z or of its square over OUT."""

_RELATIVE_FLOOR = 1e-5
_NO_SPREAD = 1e-6  # a prior of more than 2e6 degrees of freedom is a normal distribution up to rounding


def check_variance(variance: str) -> None:
    """Raise AttackError unless the name is one of VARIANCES."""
    if variance not in VARIANCES:
        raise AttackError(f"unknown variance {variance!r}{did_you_mean(variance, VARIANCES)}")


def check_variant(variant: str, variance: str) -> None:
    """Raise AttackError unless the names are of LIRA_VARIANTS and VARIANCES and go together."""
    check_variance(variance)
    if variant not in LIRA_VARIANTS:
        raise AttackError(f"unknown variant {variant!r}{did_you_mean(variant, LIRA_VARIANTS)}")
    if variant != "online" and variance == "moderated_common":
        raise AttackError(f"{variant} reads OUT alone, moderated_common pools IN and OUT; use moderated or online")


@dataclass(frozen=True)
class Prior:
    """Scaled inverse chi-square prior of a variance: `df` degrees of freedom around `variance`, each [G].

    df = 0 is no shrinkage at all, df = inf gives every example the same variance.
    """

    df: Floats
    variance: Floats


class VarianceMoments:
    """Sums over examples that a prior is fitted from, for when the variances of all of them do not fit in memory.

    The sums run in the order of the examples, so cutting them into blocks moves no bit of the result.
    """

    def __init__(self, problems: int) -> None:
        self.problems = problems
        self._examples = 0
        self._shift = np.zeros((problems, 1))
        self._df = np.zeros(problems, dtype=np.int64)
        self._sums = np.zeros((4, problems))

    def add(self, variances: Floats, df: Integers) -> None:
        """Take in more examples: positive sample variances [G, E] and their degrees of freedom [G, E], >= 1."""
        from scipy.special import digamma, polygamma

        if variances.shape[1] == 0:
            return
        first = int(df.min())
        half = np.arange(first, int(df.max()) + 1) / 2  # few distinct values: tabulate the special functions
        level = np.log(variances) - np.take(digamma(half) - np.log(half), df - first)
        if self._examples == 0:
            self._shift = level[:, :1].copy()  # any level near the others would do: it saves digits in the squares
        level -= self._shift
        for i, term in enumerate((level, level**2, np.take(polygamma(1, half), df - first), df * variances)):
            self._sums[i] = add_in_order(self._sums[i], term)
        self._df += df.sum(axis=1)
        self._examples += variances.shape[1]

    def pooled(self) -> Prior:
        """Return the prior that gives all examples the same variance: the one pooled over them."""
        return Prior(np.full(len(self._df), np.inf), self._sums[3] / self._df)

    def prior(self) -> Prior:
        """Return the prior of `fit_prior`."""
        from scipy.special import digamma

        n, pooled = self._examples, self.pooled()
        if n == 1:
            return Prior(np.zeros(len(self._df)), pooled.variance)
        level, squares, trigamma, _ = self._sums
        excess = (squares - level**2 / n) / (n - 1) - trigamma / n
        d0, s0 = pooled.df, pooled.variance
        spread = excess > _NO_SPREAD
        h0 = trigamma_inverse(excess[spread])
        d0[spread] = 2 * h0
        s0[spread] = np.exp((self._shift[:, 0] + level / n)[spread] + digamma(h0) - np.log(h0))
        return Prior(d0, s0)


def add_in_order(total: Floats, terms: Floats) -> Floats:
    """Return ((total + terms[:, 0]) + terms[:, 1]) + ... and spend the terms [G, E] on it.

    The sum of numpy adds in an order that depends on the length.
    """
    terms[:, 0] += total
    ordered: Floats = np.add.accumulate(terms, axis=1)[:, -1]
    return ordered


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
    s2 = np.asarray(variances, dtype=np.float64)
    moments = VarianceMoments(len(s2))
    moments.add(s2, np.asarray(df, dtype=np.int64))
    return moments.prior()


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
        smallest: see `variance_floor`.
    """
    s2 = np.maximum(variances, variance_floor(variances, smallest))
    moments = VarianceMoments(len(s2))
    moments.add(s2, df)
    prior = choose_prior(moments, variance)
    return posterior_variance(s2, df, prior), prior


def variance_floor(variances: Floats, smallest: float) -> Floats:
    """Return [G, 1]: 1e-5 of the median of the variances [G, E], or `smallest` where that is larger.

    An example on which all models agree to the last bit then neither divides by zero nor dominates the prior.
    """
    floor: Floats = np.maximum(_RELATIVE_FLOOR * np.median(variances, axis=1, keepdims=True), smallest)
    return floor


def choose_prior(moments: VarianceMoments, variance: str) -> Prior:
    """Return the prior of a mode of VARIANCES from the moments of the variances (per_example: of none)."""
    if variance == "per_example":
        return Prior(np.zeros(moments.problems), np.zeros(moments.problems))
    return moments.pooled() if variance == "pooled" else moments.prior()


def posterior_variance(variances: Floats, df: Integers, prior: Prior) -> Floats:
    """Return (d0 s0 + df s2) / (d0 + df), written so that d0 = inf is not a special case; all [G, E]."""
    own = df / (prior.df[:, None] + df)
    posterior: Floats = (1.0 - own) * prior.variance[:, None] + own * variances
    return posterior


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
        return self.log_normaliser[fit] - log_kernel(q, self.df[fit])

    def z(self, x: Floats, fit: Integers) -> Floats:
        """Return the distance of x [N, E] from the mean in units of the scale, row i under the fit number fit[i]."""
        distance: Floats = (x - self.mean[fit]) / np.sqrt(self.squared_scale[fit])
        return distance


def compare(
    variant: str, x: Floats, inside: tuple[Predictive, Integers], outside: tuple[Predictive, Integers]
) -> Floats:
    """Return the score of x [N, E] in a variant of LIRA_VARIANTS; offline `inside` is not read.

    A world comes with the number of the fit that each row is scored by.
    """
    (within, fit_in), (out, fit_out) = inside, outside
    if variant == "online":
        return within.log_density(x, fit_in) - out.log_density(x, fit_out)
    z = out.z(x, fit_out)
    return z if variant == "offline_1s" else z**2


def predictive(mean: Floats, count: Floats, posterior: Floats, df: Integers, prior: Prior) -> Predictive:
    """Return the predictive t: prior.df + df degrees of freedom, squared scale posterior * (1 + 1/count)."""
    squared_scale = posterior * (1.0 + 1.0 / count)
    normaliser = log_normaliser(df, prior.df) - 0.5 * np.log(squared_scale)
    return Predictive(mean, squared_scale, prior.df[:, None] + df, normaliser)


def log_normaliser(df: Integers, prior_df: Floats, dimension: int = 1) -> Floats:
    """Return the log normaliser [G, E] of Student's t of prior_df [G] + df [G, E] degrees and scale 1.

    log Gamma((nu + D)/2) - log Gamma(nu/2) - D/2 log(nu pi), in D dimensions.
    """
    from scipy.special import gammaln

    first = int(df.min())
    nu = prior_df[:, None] + np.arange(first, int(df.max()) + 1)  # [G, distinct df]
    with np.errstate(invalid="ignore"):  # inf - inf where nu is inf, replaced below
        table = gammaln((nu + dimension) / 2) - gammaln(nu / 2) - 0.5 * dimension * np.log(nu * np.pi)
    table = np.where(np.isinf(nu), -0.5 * dimension * np.log(2 * np.pi), table)
    return np.asarray(np.take_along_axis(table, df - first, axis=1), dtype=np.float64)


def log_kernel(q: Floats, nu: Floats, dimension: int = 1) -> Floats:
    """Return (nu + D)/2 log(1 + q/nu) of a squared distance q, which for nu = inf is q/2."""
    finite = np.isfinite(nu)
    with np.errstate(invalid="ignore"):  # inf * 0 where nu is inf, replaced below
        kernel: Floats = 0.5 * (nu + dimension) * np.log1p(q / nu)
    return kernel if finite.all() else np.where(finite, kernel, 0.5 * q)
