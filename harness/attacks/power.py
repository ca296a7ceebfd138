"""What a farm of N shadows and E examples can see, before anything is trained.

The effect size of an example is d = (mean_U - mean_O) / sd of phi. With known distributions the likelihood
ratio would reach an AUC of Phi(d / sqrt 2); with K = N/2 observations for each estimated mean it behaves
like the smaller effect d * d / sqrt(d^2 + 4/N). The formula agrees with simulated attacks to 0.005, and is
a little high at N = 16.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from harness.attacks.curves import MIN_FALSE_POSITIVES
from harness.attacks.errors import AttackError

_NORMAL = NormalDist()

INFLATION = 1.85
"""Standard error of a pooled AUC over that of independent scores: 1.8 to 1.9 in simulated farms."""


def effective_effect(d: float, shadows: int) -> float:
    """Return the effect size left when both means are estimated from shadows/2 models each, >= 0."""
    _check(shadows, 1)
    return d if math.isinf(d) else d * d / math.sqrt(d * d + 4 / shadows)


def expected_auc(d: float, shadows: int) -> float:
    """Return the AUC to expect when every example has the effect size d (in standard deviations)."""
    return _NORMAL.cdf(effective_effect(d, shadows) / math.sqrt(2))


def expected_tpr(d: float, shadows: int, fpr: float) -> float:
    """Return the true-positive rate to expect at a false-positive rate in (0, 1)."""
    return _NORMAL.cdf(effective_effect(d, shadows) - _NORMAL.inv_cdf(1 - fpr))


def auc_standard_error(shadows: int, examples: int, inflation: float = INFLATION) -> float:
    """Return the standard error of the pooled AUC under no leakage: inflation / sqrt(3 N E).

    `inflation=1` is the value for independent scores, which releases of one farm are not.
    """
    _check(shadows, examples)
    return inflation / math.sqrt(3 * shadows * examples)


def smallest_detectable_effect(
    shadows: int, examples: int, *, power: float = 0.8, alpha: float = 0.05, inflation: float = INFLATION
) -> float:
    """Return the smallest effect, the same in every example, whose pooled AUC is told from 0.5.

    Solves Phi(d_eff / sqrt 2) - 0.5 = (z_{1-alpha/2} + z_power) * SE for d; inf where no effect is large
    enough.
    """
    margin = _z(alpha, power) * auc_standard_error(shadows, examples, inflation)
    if margin >= 0.5:
        return math.inf
    return effect_of_auc(0.5 + margin, shadows)


def effect_of_auc(value: float, shadows: int) -> float:
    """Return the effect size whose `expected_auc` this is: 0 for 0.5, inf for 1."""
    _check(shadows, 1)
    if not 0.5 <= value <= 1.0:
        raise AttackError(f"the AUC is {value}; an effect size belongs to one from 0.5 to 1")
    if value == 1.0:
        return math.inf
    d_eff = math.sqrt(2) * _NORMAL.inv_cdf(value)
    return math.sqrt((d_eff**2 + math.sqrt(d_eff**4 + 16 * d_eff**2 / shadows)) / 2)


def smallest_detectable_effect_per_example(
    shadows: int, *, power: float = 0.8, alpha: float = 0.05, tests: int = 1
) -> float:
    """Return the smallest effect of a single example that a two-sample t test over the shadows finds.

    d * sqrt(K/2) is the noncentrality at which Student's t with 2K-2 degrees of freedom passes its two-sided
    critical value with the wanted power, K = shadows/2; `tests` is the number of examples that are tested
    (Bonferroni). inf below 4 shadows.
    """
    from scipy.special import nctdtrinc, stdtrit

    _check(shadows, tests)
    if shadows < 4:
        return math.inf
    df = shadows - 2
    critical = stdtrit(df, 1 - alpha / (2 * tests))
    return float(nctdtrinc(df, 1 - power, critical)) * math.sqrt(4 / shadows)


def lowest_readable_fpr(shadows: int, examples: int, false_positives: int = MIN_FALSE_POSITIVES) -> float:
    """Return the lowest pooled false-positive rate at which this many false positives are expected."""
    _check(shadows, examples)
    return min(1.0, false_positives / (shadows / 2 * examples))


def _z(alpha: float, power: float) -> float:
    return _NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)


def _check(shadows: int, examples: int) -> None:
    if shadows < 2 or examples < 1:
        raise AttackError(f"{shadows} shadows and {examples} examples; a farm has at least 2 and 1")
