"""The design of a shadow-model farm: who is in which shadow, and who is audited.

Shadows come in complementary pairs: a fair coin for every training image puts it into one of the two. Every image is so
in exactly half of the shadows, and within a shadow the coins are independent. Audit pools are disjoint, drawn before
anything is trained, and as large as two forget sets: what of a pool is in a shadow is forgotten there, what is not is
the control (U and O of Hayes et al. 2024, arXiv 2403.01218). Retrains leave a whole pool out, so each is an exact
retrain for every image of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

Labels = Literal["own", "random"]
LEVELS = ("L0", "L1", "L2")
_POOLS, _PAIRS = 0, 1  # spawn keys: what a seed is for


class PoolsTooLarge(HarnessError):
    """Audit pools that do not fit into the training data."""


@dataclass(frozen=True)
class PoolSpec:
    """An audit pool: its size, and whether its images train with their `own` labels or `random` wrong ones."""

    name: str
    size: int
    labels: Labels = "own"


@dataclass(frozen=True)
class FarmRef:
    """What the results of a shadow depend on: the pools, and the seed of pools and coins. Not the number of shadows:
    a farm grows by appending pairs."""

    pools: tuple[PoolSpec, ...]
    seed: int = 0

    @property
    def digest(self) -> str:
        """Tells farms of one root apart: the first 8 hex digits of a hash of pools and seed."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Farm:
    """A farm as a study asks for it: shadows (even), how many of them are also retrained, attack levels."""

    ref: FarmRef
    shadows: int
    retrains: int
    levels: tuple[str, ...] = LEVELS


@dataclass(frozen=True)
class Pool:
    """A drawn pool: positions [size] within the training data, and the labels [size] it is trained with."""

    spec: PoolSpec
    positions: NDArray[np.int64]
    trained_labels: NDArray[np.int64]


def check_size(ref: FarmRef, count: int) -> None:
    """Raise `PoolsTooLarge` where the pools would take more than half of `count` training images."""
    wanted = sum(spec.size for spec in ref.pools)
    if wanted > count // 2:
        raise PoolsTooLarge(
            f"audit pools of {wanted} images; at most half of the {count} training images may be audited"
        )


def draw_pools(ref: FarmRef, labels: NDArray[np.int64], classes: int) -> dict[str, Pool]:
    """Return the pools of a farm by name, from the labels [n] of the training data.

    Pools are disjoint. Random labels are uniform over the wrong ones. Raises `PoolsTooLarge` where the pools would
    take more than half of the training data.
    """
    check_size(ref, len(labels))
    rng = np.random.default_rng([ref.seed, _POOLS])
    order, start, pools = rng.permutation(len(labels)), 0, {}
    for spec in ref.pools:
        positions = np.sort(order[start : start + spec.size])
        start += spec.size
        trained = labels[positions]
        if spec.labels == "random":
            trained = (trained + rng.integers(1, classes, spec.size)) % classes
        pools[spec.name] = Pool(spec, positions, trained)
    return pools


def membership(ref: FarmRef, shadow: int, count: int) -> NDArray[np.bool_]:
    """Return which training images are in a shadow: [count] bool; shadow 2k+1 is the complement of shadow 2k."""
    coins = np.random.default_rng([ref.seed, _PAIRS, shadow // 2]).random(count) < 0.5
    return ~coins if shadow % 2 else coins


def pairs(shadows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pair of each shadow [N]: rows of one pair are never in the fit that scores one of them."""
    return shadows // 2
