"""Three attackers of growing power on the same feature: a line, a support-vector machine, boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.attacks.curves import auc
from harness.attacks.learned import Attacker, boosted_trees, equally_many, feature_matrix, margins
from harness.attacks.population import SPLITS
from harness.attacks.signal import Floats
from harness.attacks.student import Integers

TEST_SHARE = 0.1
TREES, RATE = 100, 0.1


@dataclass(frozen=True)
class SplitAttack:
    """How well an attacker tells members from non-members over random splits: means, and sd (n - 1) over the splits.

    `n`: examples a side, after both were cut to the smaller one. The splits share examples, so that an sd says how
    steady the attacker is, and is no standard error. 0.5 = no better than guessing; whoever forgets by inverting labels
    can be above it for being *worse* on the members, so read it beside the sign of the loss gap, and against retrain.
    """

    attacker: Attacker
    n: int
    accuracy: float
    accuracy_sd: float
    auc: float
    auc_sd: float


def mia_trio(members: npt.ArrayLike, nonmembers: npt.ArrayLike, *, seed: int = 0) -> dict[Attacker, SplitAttack]:
    """Return the quality of three attackers over ten stratified random 90/10 splits, the same for all of them.

    The larger side is cut to the size of the smaller one at random. `logistic` is scikit-learn's default regression on
    the feature as it is: with the loss for a feature it is `simple_mia` of the NeurIPS 2023 unlearning challenge's
    starting kit, whose ten splits are often called 10-fold cross-validation, which they are not. `svm` (RBF, C = 1, on
    standardised features) and `xgboost` (100 trees of depth 3, rate 0.1) also find a leak in both tails. That these
    three are what Hatua et al. (arXiv 2407.18467) report is this harness's reading: their features and splits are lost.

    Args:
        members: [n1] or [n1, d] features of the forget set: its losses, or sorted softmax vectors.
        nonmembers: [n0] or [n0, d], the same features of unseen examples.
        seed: of the cut, of the splits and of the trees.

    Raises:
        NonFiniteLossError: a feature is infinite or NaN (a diverged model); store null.
        AttackError: fewer than MIN_EXAMPLES on a side, or shapes that do not fit.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    inside, outside = equally_many(feature_matrix(members, "members"), feature_matrix(nonmembers, "non-members"), seed)
    n = len(inside)
    # The kit's order: non-members first, numbered 0.
    x, labels = np.concatenate((outside, inside)), np.repeat(np.array([0, 1], dtype=np.int64), n)
    splits = list(StratifiedShuffleSplit(SPLITS, test_size=TEST_SHARE, random_state=seed).split(x, labels))
    return {
        name: _quality(name, n, [_split(make(seed), x, labels, *one) for one in splits]) for name, make in _MAKE.items()
    }


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(LogisticRegression())


def _svm(seed: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf"))


def _xgboost(seed: int) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(boosted_trees(TREES, seed, learning_rate=RATE))


_MAKE: Mapping[Attacker, Callable[[int], Any]] = MappingProxyType(
    {"logistic": _logistic, "svm": _svm, "xgboost": _xgboost}
)


def _split(attacker: Any, x: Floats, labels: Integers, fit: Integers, held_out: Integers) -> tuple[float, float]:
    """Return accuracy and AUC of an attacker on what was held out of its fit."""
    scores, inside = margins(attacker.fit(x[fit], labels[fit]), x[held_out]), labels[held_out] == 1
    return float(np.mean((scores > 0) == inside)), auc(scores[inside], scores[~inside])


def _quality(attacker: Attacker, n: int, found: list[tuple[float, float]]) -> SplitAttack:
    (accuracy, area), (accuracy_sd, area_sd) = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    return SplitAttack(attacker, n, float(accuracy), float(accuracy_sd), float(area), float(area_sd))
