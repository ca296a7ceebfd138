"""Learned population attacks: a classifier on the features of one release, no shadow models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.population import MIN_EXAMPLES, hanley_mcneil_se
from harness.attacks.signal import Floats
from harness.errors import did_you_mean

Attacker = Literal["logistic", "svm", "xgboost"]
"""logistic: a linear rule. svm: an RBF support-vector machine. xgboost: 50 boosted trees of depth 3."""

FOLDS = 5
SHARED_FITS = math.sqrt(1 + FOLDS / (FOLDS - 1))
"""Standard errors of independent folds times this: their attackers share examples (Nadeau and Bengio 2003)."""


@dataclass(frozen=True)
class PopulationAttack:
    """How well an attacker tells members from non-members that it was not fitted on; 0.5 = not at all.

    `n`: examples a side, after both were cut to the smaller one. `auc_se` (Hanley and McNeil) and
    `accuracy_se` (binomial) treat examples as independent, so they are for one release only. Both are 1.5
    times the plain formula, because the folds are not independent: without a leak the plain one is too small
    by 1.2 to 1.5 in simulations.
    """

    attacker: str
    n: int
    auc: float
    auc_se: float
    accuracy: float
    accuracy_se: float


def population_attack(
    members: npt.ArrayLike, nonmembers: npt.ArrayLike, attacker: Attacker = "logistic", *, seed: int = 0
) -> PopulationAttack:
    """Fit a classifier to members against non-members and return its quality on examples held out of the fit.

    The larger side is cut to the size of the smaller one at random; each of five stratified folds is scored
    by an attacker fitted on the other four, features standardised by the same four. The AUC is the mean over
    the folds, each within itself: scores of different attackers on one scale would fall below 0.5 where
    nothing leaks, because an example that is held out tilts its own attacker the other way.

    The non-members should resemble the members in everything but membership (class by class, say); whatever
    else differs counts as a leak.

    Args:
        members: [n1, d] features of the forget set, [n1] for a single one such as phi or the loss.
        nonmembers: [n0, d] or [n0], the same features of unseen examples.
        attacker: one of `Attacker`. The last two also find a leak in both tails of a feature.
        seed: of the cut, of the folds and of the attacker.

    Raises:
        NonFiniteLossError: a feature is infinite or NaN (a diverged model); store null.
        AttackError: fewer than MIN_EXAMPLES on a side, shapes that do not fit, or an unknown attacker.
    """
    from sklearn.model_selection import StratifiedKFold

    if attacker not in get_args(Attacker):
        raise AttackError(f"unknown attacker {attacker!r}{did_you_mean(attacker, get_args(Attacker))}")
    inside, outside = equally_many(feature_matrix(members, "members"), feature_matrix(nonmembers, "non-members"), seed)
    n = len(inside)
    x, labels = np.concatenate((inside, outside)), np.repeat(np.array([1, 0], dtype=np.int64), n)
    aucs, hits = [], 0
    for fit, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, labels):
        scores = margins(_classifier(attacker, seed).fit(x[fit], labels[fit]), x[held_out])
        is_member = labels[held_out] == 1
        aucs.append(auc(scores[is_member], scores[~is_member]))
        hits += int(np.count_nonzero((scores > 0) == is_member))
    value, accuracy = float(np.mean(aucs)), hits / len(labels)
    return PopulationAttack(
        attacker=attacker,
        n=n,
        auc=value,
        auc_se=SHARED_FITS * hanley_mcneil_se(value, n, n),
        accuracy=accuracy,
        accuracy_se=SHARED_FITS * math.sqrt(accuracy * (1 - accuracy) / len(labels)),
    )


def feature_matrix(values: npt.ArrayLike, side: str) -> Floats:
    """Return the features [n] or [n, d] of a side as [n, d]; raise as `population_attack` does."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[1] == 0):
        raise AttackError(f"{side} are {list(x.shape)}; features are [examples, d] with d >= 1, or [examples]")
    x = x.reshape(len(x), -1) if x.size else x.reshape(0, 1)
    if len(x) < MIN_EXAMPLES:
        raise AttackError(f"{len(x)} {side}; the population attack needs at least {MIN_EXAMPLES} a side")
    bad = int(np.count_nonzero(~np.isfinite(x).all(axis=1)))
    if bad:
        raise NonFiniteLossError(f"{bad} of {len(x)} {side} have features that are not finite: a diverged model")
    return x


def equally_many(members: Floats, nonmembers: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return both sides [n, d], the larger cut to the size of the smaller one at random; AttackError if d differs."""
    if members.shape[1] != nonmembers.shape[1]:
        raise AttackError(
            f"{members.shape[1]} features of members, {nonmembers.shape[1]} of non-members; both sides have the same"
        )
    rng, n = np.random.default_rng(seed), min(len(members), len(nonmembers))
    inside, outside = (x[np.sort(rng.permutation(len(x))[:n])] for x in (members, nonmembers))
    return inside, outside


def _classifier(attacker: Attacker, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if attacker == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression())
    if attacker == "svm":
        return make_pipeline(StandardScaler(), SVC())
    return make_pipeline(StandardScaler(), boosted_trees(50, seed))


def boosted_trees(trees: int, seed: int, **settings: float) -> Any:
    """Return an XGBoost classifier of so many trees of depth 3, not fitted."""
    from xgboost import XGBClassifier

    # "exact": no histogram, whose sums could depend on the machine; one thread for the same reason
    return XGBClassifier(n_estimators=trees, max_depth=3, tree_method="exact", n_jobs=1, random_state=seed, **settings)


def margins(fitted: Any, x: Floats) -> Floats:
    """Return [n] scores that rise with membership, 0 at even odds."""
    if hasattr(fitted[-1], "decision_function"):
        return np.asarray(fitted.decision_function(x), dtype=np.float64)
    return np.asarray(fitted.predict(x, output_margin=True), dtype=np.float64)
