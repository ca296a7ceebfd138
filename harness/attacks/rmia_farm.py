# ruff: noqa: E741  (U and O are the names of the worlds in the literature)
"""RMIA on a farm: every release is attacked, and the releases of the other clusters are its references.

On plain arrays, phi, U, O and cluster as in `ulira`, and

    population_phi  [N, Z]  phi of the same releases on examples that no model was trained on
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.attacks.design import check_numbers
from harness.attacks.errors import AttackError
from harness.attacks.rmia import check_gamma, log_add, log_mean, log_p, share
from harness.attacks.signal import Bools, Floats, clip_phi
from harness.attacks.student import Integers
from harness.attacks.ulira import check_worlds


def rmia_farm(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    population_phi: npt.ArrayLike,
    *,
    gamma: float = 1.0,
) -> Floats:
    """Return online `rmia` of every cell, U in the place of IN, with the releases of the other clusters as references.

    Returns:
        float64 [N, E], in [0, 1]; higher = more likely unlearned, 0.5 where phi is NaN. NaN where the row is in
        neither world, and where a world is empty without the cluster of the row.

    Raises:
        AttackError: shapes do not fit, or an array holds something else than it should.
    """
    return _scores(_prepare(phi, U, O, cluster, population_phi, gamma), None)


def jackknife_rmia(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    population_phi: npt.ArrayLike,
    *,
    gamma: float = 1.0,
) -> Iterator[Floats]:
    """Yield `rmia_farm` on the releases that remain without one cluster, for each cluster in sorted order.

    Every array is [N, E] like the full one, NaN in the deleted rows.
    """
    farm = _prepare(phi, U, O, cluster, population_phi, gamma)
    for deleted in range(len(farm.unlearned.count)):
        yield _scores(farm, deleted)


@dataclass(frozen=True)
class _Sums:
    """Sums of p over the rows of each of C clusters."""

    log_total: Floats  # [C, n] -inf where there is none
    count: Integers  # [C, n]

    def mean_of_the_others(self, deleted: int | None) -> Floats:
        """Return log of the mean p [C, n] of all clusters but c and the deleted one, NaN where that is of none.

        Added up from both ends: subtracting a cluster from the sum of all would leave nothing of small p.
        """
        total, count = self.log_total.copy(), self.count.copy()
        if deleted is not None:
            total[deleted], count[deleted] = -np.inf, 0
        nothing = np.full((1, total.shape[1]), -np.inf)
        before = np.concatenate((nothing, np.logaddexp.accumulate(total, axis=0)[:-1]))
        after = np.concatenate((nothing, np.logaddexp.accumulate(total[::-1], axis=0)[:-1]))[::-1]
        return log_mean(log_add(before, after), count.sum(axis=0) - count)


@dataclass(frozen=True)
class _Farm:
    x: Floats  # [N, E] log p of the audited examples
    z: Floats  # [N, Z] log p of the population
    members: Bools  # [N, E] in either world
    code: Integers  # [N] cluster 0..C-1
    unlearned: _Sums
    null: _Sums
    population: _Sums
    gamma: float


def _prepare(
    phi: npt.ArrayLike,
    U: npt.ArrayLike,
    O: npt.ArrayLike,
    cluster: npt.ArrayLike,
    population_phi: npt.ArrayLike,
    gamma: float,
) -> _Farm:
    check_gamma(gamma)
    scored, population = check_numbers("phi", phi), check_numbers("population_phi", population_phi)
    u, o, code = check_worlds(scored.shape, U, O, cluster)
    if population.ndim != 2 or len(population) != len(scored) or not population.shape[1]:
        raise AttackError(
            f"population_phi is {list(population.shape)}, phi {list(scored.shape)}; "
            "they are [N, Z] with Z >= 1 and [N, E]"
        )
    x, z = log_p(clip_phi(scored)), log_p(clip_phi(population))
    everywhere = np.ones(z.shape, dtype=np.bool_)
    return _Farm(x, z, u | o, code, _sums(x, u, code), _sums(x, o, code), _sums(z, everywhere, code), gamma)


def _sums(x: Floats, world: Bools, code: Integers) -> _Sums:
    known = world & ~np.isnan(x)
    shape = (int(code.max(initial=-1)) + 1, x.shape[1])
    total, count = np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64)
    np.logaddexp.at(total, code, np.where(known, x, -np.inf))
    np.add.at(count, code, known)
    return _Sums(total, count)


def _scores(farm: _Farm, deleted: int | None) -> Floats:
    both = log_add(farm.unlearned.mean_of_the_others(deleted), farm.null.mean_of_the_others(deleted))
    examples, population = both - np.log(2.0), farm.population.mean_of_the_others(deleted)
    scores = np.full(farm.x.shape, np.nan)
    for row, own in enumerate(farm.code):
        if own != deleted:
            scores[row] = share(farm.x[row] - examples[own], farm.z[row] - population[own], farm.gamma)
    unscored = ~farm.members | np.isnan(examples)[farm.code]
    return np.where(unscored, np.nan, scores)
