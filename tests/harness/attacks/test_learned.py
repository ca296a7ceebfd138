from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC
from xgboost import XGBClassifier

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.learned import Attacker, population_attack

ATTACKERS = get_args(Attacker)


def restated(members: np.ndarray, others: np.ndarray, attacker: str, seed: int) -> tuple[float, float]:
    """Mean AUC within the folds, and accuracy, of sides that are alike in size."""
    x, y = np.concatenate((members, others)), np.repeat([1, 0], len(members))
    aucs, right = [], 0.0
    for fold in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y):
        centre, spread = x[fold[0]].mean(axis=0), x[fold[0]].std(axis=0)
        (fit, y_fit), (test, y_test) = (((x[rows] - centre) / spread, y[rows]) for rows in fold)
        if attacker == "logistic":
            chance = LogisticRegression().fit(fit, y_fit).predict_proba(test)[:, 1] - 0.5
        elif attacker == "svm":
            chance = SVC(C=1, kernel="rbf", gamma="scale").fit(fit, y_fit).decision_function(test)
        else:
            trees = XGBClassifier(n_estimators=50, max_depth=3, tree_method="exact", n_jobs=1)
            chance = trees.fit(fit, y_fit).predict_proba(test)[:, 1] - 0.5
        aucs.append(roc_auc_score(y_test, chance))
        right += np.sum((chance > 0) == (y_test == 1))
    return float(np.mean(aucs)), right / len(y)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_equals_a_straight_restatement(attacker: Any) -> None:
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.8, 1, (30, 2)) * [1, 100], rng.normal(0, 1, (30, 2)) * [1, 100]
    found = population_attack(members, others, attacker, seed=3)
    assert (found.auc, found.accuracy) == pytest.approx(restated(members, others, attacker, 3))
    a = found.auc
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    plain = (a * (1 - a) + 29 * (q1 - a * a) + 29 * (q2 - a * a)) / 900
    assert found.auc_se == pytest.approx(1.5 * math.sqrt(plain))
    assert found.accuracy_se == pytest.approx(1.5 * math.sqrt(found.accuracy * (1 - found.accuracy) / 60))
    assert (found.n, found.attacker) == (30, attacker)


def test_a_leak_in_both_tails_escapes_a_threshold_and_a_line() -> None:
    rng = np.random.default_rng(2)
    members = rng.normal(0, 0.4, 100) + np.where(np.arange(100) % 2 == 0, 3, -3)
    others = rng.normal(0, 1, 100)
    assert abs(auc(members, others) - 0.5) < 0.1
    found = {attacker: population_attack(members, others, attacker) for attacker in ATTACKERS}
    assert found["logistic"].auc < 0.6
    assert min(found["svm"].auc, found["xgboost"].auc) > 0.95
    assert min(found["svm"].accuracy, found["xgboost"].accuracy) > 0.9


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_without_a_leak_the_attack_stays_within_its_error_of_a_half(attacker: Any) -> None:
    rng = np.random.default_rng(3)
    runs = [population_attack(*rng.normal(size=(2, 40, 2)), attacker, seed=s) for s in range(6)]
    z = np.array([[(r.auc - 0.5) / r.auc_se, (r.accuracy - 0.5) / r.accuracy_se] for r in runs])
    assert np.abs(z).max() < 4
    # pooling the scores of the folds instead would pull the mean below a half
    assert np.abs(z.mean(axis=0)).max() < 4 / math.sqrt(len(runs))


def test_the_larger_side_is_cut_and_the_seed_decides_how() -> None:
    rng = np.random.default_rng(4)
    members, others = rng.normal(1, 1, (40, 2)), rng.normal(size=(300, 2))
    first = population_attack(members, others, seed=1)
    np.random.seed(9)
    assert population_attack(members, others, seed=1) == first
    assert population_attack(members, others, seed=2) != first
    assert first.n == 40
    swapped = population_attack(others, members, seed=1)
    moved = population_attack(rng.permutation(members), rng.permutation(others), seed=1)
    for other in (swapped, moved):
        assert abs(other.auc - first.auc) < 3 * first.auc_se
    assert population_attack(members[:, 0], others[:, 0]) == population_attack(members[:, :1], others[:, :1])


def test_unreadable_features_are_refused() -> None:
    good = np.random.default_rng(0).normal(size=(8, 2))
    bad = good.copy()
    bad[3] = np.nan
    bad[5, 1] = np.inf
    for arguments, message in (
        ((good[:5], good), "5 members; the population attack needs at least 6 a side"),
        ((good, good[:0]), "0 non-members"),
        ((good, good[:, :1]), "2 features of members, 1 of non-members"),
        ((good[None], good), r"members are \[1, 8, 2\]"),
        ((good[:, :0], good), r"members are \[8, 0\]"),
        ((good, good, "logistics"), "did you mean 'logistic'"),
    ):
        with pytest.raises(AttackError, match=message):
            population_attack(*arguments)
    with pytest.raises(NonFiniteLossError, match="2 of 8 non-members"):
        population_attack(good, bad)
