"""The design of a shadow-model farm: who is in which shadow, and who is audited.

`pairs` (the default). Shadows come in complementary pairs: a fair coin for every training image puts it into one of the
two. Every image is so in exactly half of the shadows, and within a shadow the coins are independent. Audit pools are
disjoint, drawn before anything is trained, and as large as two forget sets: what of a pool is in a shadow is forgotten
there, what is not is the control (U and O of Hayes et al. 2024, arXiv 2403.01218). Retrains leave a whole pool out, so
each is an exact retrain for every image of it.

`conditional`. One (D, F) for each pool, as in the forgetting quality of the NeurIPS 2023 challenge: every shadow is
trained on all training images, from another seed; the whole pool is forgotten, and left out by the retrains.

`half_splits`. The published design of Deep Unlearn, see `harness.farm_deep_unlearn`: shadow s is trained on one half of
the development images, and draw j of it forgets a tenth of that half. All development images but val are audited.

What the units of a farm leave in `signals`; every row is there once for each of `FarmRef.queries`, and its `phi` and
`member` follow the `index` of the pool of that name in `pools`:

    design         kind             pool            member
    pairs          shadow           each pool       in the shadow
    pairs          shadow_unlearn   the unit's own  in the shadow, so forgotten; else never in it
    pairs          shadow_retrain   the unit's own  in the shadow; the retrain has seen none of the pool
    conditional    all three        as for pairs    true for all: trained on; forgotten; left out of the retrain
    half_splits    shadow           "", all images  in the half
    half_splits    shadow_unlearn   draw0, draw1 .. true: forgotten; false: not in the half; null: retained
    half_splits    shadow_retrain   draw0, draw1 .. true: left out; false: not in the half; null: retrained on
    all            the last two     population      false for all: the first test images

The draws audit the images of the pool "", in the same order, so that the signals of all draws can be stacked.
The column `seed` is the number of the shadow. Rows with one number of `clusters` are never in the fit that scores one
of them. Numbers for which `is_tuning` holds are there to choose hyperparameters and thresholds, and are not audited.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.farm_deep_unlearn import draw_name

Labels = Literal["own", "random"]
Design = Literal["pairs", "conditional", "half_splits"]
Query = Literal["identity", "flip"]
Level = Literal["L0", "L1", "L2", "L3"]
LEVELS: tuple[Level, ...] = ("L0", "L1", "L2")
FurtherAttack = Literal["epsilon", "offline_lira", "rmia", "klom", "forgetting_quality"]
ATTACKS: tuple[FurtherAttack, ...] = ("epsilon",)
"""What is attacked beside U-LiRA unless a study says otherwise: what costs next to nothing."""
EVERYTHING = ""
"""The pool of half splits: every development image that is not val."""
POPULATION, POPULATION_SIZE = "population", 1000
"""The pool of test images, which no model was trained on, and how many of them (the first) it has at most."""
TUNING_FIRST = 1_000_000
"""The number of the first tuning shadow: no audited shadow of any farm, however large it grows, has one so high."""
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
    """What the results of a shadow depend on: the pools, the seed of pools and coins, the design, and the queries with
    which it is asked (the images as they are, then mirrored). Not the number of shadows or draws: a farm grows."""

    pools: tuple[PoolSpec, ...]
    seed: int = 0
    design: Design = "pairs"
    queries: tuple[Query, ...] = ("identity",)

    def identity(self) -> dict[str, Any]:
        """Return what counts in the ids of units: what came after the first farms only where it is not the default."""
        later = {field.name: field.default for field in fields(self) if field.name not in ("pools", "seed")}
        own = {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}
        # In version 1 each split had initial weights of its own.
        return own | {"version": 2} if self.design == "half_splits" else own

    def initial_seed(self, shadow: int) -> int:
        """Return the seed of a shadow's initial weights: its own number; in the published half splits always 0."""
        return 0 if self.design == "half_splits" else shadow

    @property
    def digest(self) -> str:
        """Tells farms of one root apart: the first 8 hex digits of a hash of the identity."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]


def setting(method: str, config: str) -> str:
    """Return how one of several settings of a method is named: `multi_gan (images=real)`, `multi_gan (default)`."""
    return f"{method} ({config})"


@dataclass(frozen=True)
class Farm:
    """A farm as a study asks for it: shadows (even), how many of them are also retrained, attack levels, how many
    more shadows (even) are for tuning alone, with half splits the number of draws from each, which attacks beside
    U-LiRA, and which methods or settings of methods (none named: all)."""

    ref: FarmRef
    shadows: int
    retrains: int
    levels: tuple[Level, ...] = LEVELS
    tuning: int = 0
    draws: int = 0
    attacks: tuple[str, ...] = ATTACKS
    methods: tuple[str, ...] = ()
    shadows_per_worker: int = 1
    """How many a worker trains at once: no part of any id, since a shadow is the same but for rounding."""

    def audits(self, method: str, config: str) -> bool:
        """Whether a method is audited; the no-op always is, as the reference above."""
        return not self.methods or method in (*self.methods, "original") or setting(method, config) in self.methods

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all shadows, those for tuning first."""
        return (*range(TUNING_FIRST, TUNING_FIRST + self.tuning), *range(self.shadows))

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of what is forgotten in each shadow, one after the other: the pools, or the draws of a half."""
        return (*(pool.name for pool in self.ref.pools), *(draw_name(draw) for draw in range(self.draws)))


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
    """Return which training images are in a shadow of a design with pools: [count] bool.

    In pairs, shadow 2k+1 is the complement of shadow 2k; in a conditional farm everything is in every shadow.
    """
    if ref.design == "conditional":
        return np.ones(count, dtype=bool)
    coins = np.random.default_rng([ref.seed, _PAIRS, shadow // 2]).random(count) < 0.5
    return ~coins if shadow % 2 else coins


def pairs(shadows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pair of each shadow [N]: rows of one pair are never in the fit that scores one of them."""
    return shadows // 2


def clusters(ref: FarmRef, shadows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cluster of each row [N] from its shadow's number: the pair, or with half splits the shadow itself.

    The shadows of a conditional farm are independent. They are taken two at a time, so that retrains can be put against
    retrains with one of each cluster on either side.
    """
    return shadows if ref.design == "half_splits" else pairs(shadows)


def is_tuning(shadows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which shadows [N] are for tuning alone, so never audited."""
    return shadows >= TUNING_FIRST
