"""How far a mean lies from another in units of the other's spread, with an exact interval (Glass's delta).

With normal values of equal spread, `delta / sqrt(1/m + 1/n)` has a noncentral t distribution, whose noncentrality is
bounded by inverting it (Hedges and Olkin 1985, Statistical Methods for Meta-Analysis, section 5; Steiger and Fouladi
1997).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
_REACH, _POINTS = 6.0, 321


def delta_limits(delta: Floats, own: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % limits (low, high), each [n], of differences `delta` [n] in units of the reference's spread.

    `own` [n] and `reference` [n] count the values behind the two means; the spread is the standard deviation of the
    `reference` values (n - 1). NaN where those are fewer than 2, or `own` is 0. The limits take the method's spread for
    equal to retrain's, and the two sets of seeds for independent.
    """
    low, high = np.full(len(delta), np.nan), np.full(len(delta), np.nan)
    for count in np.unique(reference[reference >= 2]):
        rows = (reference == count) & (own > 0)
        scale = np.sqrt(1 / own[rows] + 1 / count)
        lower, upper = _noncentrality(delta[rows] / scale, int(count) - 1)
        low[rows], high[rows] = lower * scale, upper * scale
    return low, high


def _noncentrality(t: Floats, freedom: int) -> tuple[Floats, Floats]:
    """Return the limits of the noncentrality of observed values `t`; by symmetry from those of their sizes."""
    from scipy.special import chdtri

    grid, upper_tail, lower_tail = _quantiles(freedom)
    size = np.abs(t)
    lower, upper = np.interp(size, upper_tail, grid), np.interp(size, lower_tail, grid)
    # Beyond the table the noise of the mean is nothing beside that of the spread: a chi distribution is left.
    tails = np.sqrt(chdtri(freedom, [(1 + LEVEL) / 2, (1 - LEVEL) / 2]) / freedom)
    lower = np.where(size > upper_tail[-1], size * tails[0], lower)
    upper = np.where(size > lower_tail[-1], size * tails[1], upper)
    return np.where(t < 0, -upper, lower), np.where(t < 0, -lower, upper)


@lru_cache(maxsize=64)
def _quantiles(freedom: int) -> tuple[Floats, Floats, Floats]:
    """Return noncentralities [m] and the 97.5 and 2.5 % quantiles of t under each, all increasing."""
    from scipy.special import nctdtrit  # as `scipy.stats.nct.ppf`, without the second that its import takes

    grid = np.sinh(np.linspace(-_REACH, _REACH, _POINTS))
    return grid, nctdtrit(freedom, grid, (1 + LEVEL) / 2), nctdtrit(freedom, grid, (1 - LEVEL) / 2)
