"""Population membership inference: one attacker for all examples of one release, no shadow models."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.signal import Floats

SPLITS = 10
MIN_EXAMPLES = 6
"""Per side: the smallest sample of which the 10 % test split can hold both classes."""


def population_mia(members_loss: npt.ArrayLike, nonmembers_loss: npt.ArrayLike, seed: int = 123) -> float:
    """Return the accuracy of a logistic regression that tells forget from unseen examples by their loss.

    The U-MIA of Cadet et al. 2024 (arXiv 2410.01276), step for step as in their released code: shuffle the
    non-members, then the members, truncate both to the smaller size, and take the mean accuracy of
    scikit-learn's default `LogisticRegression` over ten stratified 90/10 splits. 0.5 = indistinguishable.
    The seed starts both the shuffling and the splits.

    Args:
        members_loss: [n1] losses of the forget set, in nats.
        nonmembers_loss: [n0] losses of the validation or test set.
        seed: 123 in the released code.

    Raises:
        NonFiniteLossError: a loss is infinite or NaN (a diverged model); store null.
        AttackError: fewer than MIN_EXAMPLES on one side.
    """
    members, nonmembers = _losses(members_loss, "members"), _losses(nonmembers_loss, "non-members")
    losses, labels = _balanced(members, nonmembers, seed)
    return _split_accuracy(losses, labels, seed)


def _losses(values: npt.ArrayLike, side: str) -> Floats:
    losses = np.array(values, dtype=np.float64).ravel()
    if losses.size < MIN_EXAMPLES:
        raise AttackError(f"{losses.size} {side}; the population attack needs at least {MIN_EXAMPLES} a side")
    bad = int(np.count_nonzero(~np.isfinite(losses)))
    if bad:
        raise NonFiniteLossError(f"{bad} of {losses.size} losses of {side} are not finite: a diverged model")
    return losses


def _balanced(members: Floats, nonmembers: Floats, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    # The legacy generator on purpose: the same permutations as in the released code after np.random.seed.
    generator = np.random.RandomState(seed)
    generator.shuffle(nonmembers)
    generator.shuffle(members)
    n = min(len(members), len(nonmembers))
    # The released code numbers members 0: the accuracy is the same either way, the splits are not.
    labels = np.repeat(np.array([0, 1], dtype=np.int64), n)
    return np.concatenate((members[:n], nonmembers[:n])), labels


def _split_accuracy(losses: Floats, labels: npt.NDArray[np.int64], seed: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    column = losses.reshape(-1, 1)
    accuracies = []
    for train, test in StratifiedShuffleSplit(n_splits=SPLITS, random_state=seed).split(column, labels):
        attacker = LogisticRegression().fit(column[train], labels[train])
        accuracies.append(np.mean(attacker.predict(column[test]) == labels[test]))
    return float(np.mean(accuracies))


def population_auc(members_phi: npt.ArrayLike, nonmembers_phi: npt.ArrayLike) -> tuple[float, float]:
    """Return the AUC of one global threshold on phi, and its standard error.

    Above 0.5: members look more confident than unseen examples; below: less (over-forgetting leaks as
    well). The error treats examples as independent draws, so it is for one release only.

    Raises:
        AttackError: a side is empty or holds NaN.
    """
    members, nonmembers = np.asarray(members_phi), np.asarray(nonmembers_phi)
    value = auc(members, nonmembers)
    return value, hanley_mcneil_se(value, members.size, nonmembers.size)


def hanley_mcneil_se(value: float, positives: int, negatives: int) -> float:
    """Return the standard error of an AUC over independent scores (Hanley and McNeil 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (positives - 1) * (q1 - value**2) + (negatives - 1) * (q2 - value**2)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))
