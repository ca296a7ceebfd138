"""The three attackers against straight restatements, and what each can find."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from sklearn import linear_model, model_selection
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from xgboost import XGBClassifier

from harness.attacks import AttackError, NonFiniteLossError, mia_trio, population_attack
from harness.attacks.learned import Attacker

ATTACKERS = get_args(Attacker)


def simple_mia(sample_loss: np.ndarray, members: np.ndarray, n_splits: int = 10, random_state: int = 0) -> np.ndarray:
    """The attack of the challenge's starting kit, by its description: default regression, stratified shuffle splits."""
    attack_model = linear_model.LogisticRegression()
    cv = model_selection.StratifiedShuffleSplit(n_splits=n_splits, random_state=random_state)
    scores: np.ndarray = model_selection.cross_val_score(attack_model, sample_loss, members, cv=cv, scoring="accuracy")
    return scores


def kit_order(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate((others, members))
    return x.reshape(len(x), -1), np.array([0] * len(others) + [1] * len(members))


def restated(attacker: str, x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """Accuracy and AUC of each split, standardised by hand, by probabilities where there are any."""
    accuracies, areas = [], []
    for fit, test in model_selection.StratifiedShuffleSplit(10, test_size=0.1, random_state=0).split(x, y):
        if attacker == "svm":
            centre, spread = x[fit].mean(axis=0), x[fit].std(axis=0)
            model: Any = SVC(C=1, kernel="rbf").fit((x[fit] - centre) / spread, y[fit])
            held_out = (x[test] - centre) / spread
            score = model.decision_function(held_out)
        else:
            held_out = x[test]
            settings: dict[str, Any] = {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.1}
            model = XGBClassifier(**settings, tree_method="exact", random_state=0).fit(x[fit], y[fit])
            score = model.predict_proba(held_out)[:, 1]
        accuracies.append(float(np.mean(model.predict(held_out) == y[test])))
        areas.append(float(roc_auc_score(y[test], score)))
    return accuracies, areas


@pytest.mark.parametrize("n", [6, 45, 200])
def test_the_logistic_one_is_simple_mia_to_the_last_bit(n: int) -> None:
    rng = np.random.default_rng(n)
    members, others = rng.gamma(1, 1, n), rng.gamma(1, 1.7, n)
    scores = simple_mia(*kit_order(members, others))
    found = mia_trio(members, others)["logistic"]
    assert (found.accuracy, found.n) == (float(scores.mean()), n)
    assert found.accuracy_sd == pytest.approx(np.sqrt(np.sum((scores - scores.mean()) ** 2) / 9))
    # ten random splits are not 10-fold cross-validation
    if n == 45:
        folds = model_selection.cross_val_score(linear_model.LogisticRegression(), *kit_order(members, others), cv=10)
        assert found.accuracy != folds.mean()


@pytest.mark.parametrize("attacker", ["svm", "xgboost"])
@pytest.mark.parametrize("width", [1, 3])
def test_the_others_equal_a_straight_restatement_on_one_and_on_several_features(attacker: Any, width: int) -> None:
    rng = np.random.default_rng(width)
    scale = [1, 50, 0.1][:width]
    members, others = rng.gamma(1, 1, (50, width)) * scale, rng.gamma(2, 1, (50, width)) * scale
    found = mia_trio(members, others)[attacker]
    accuracies, areas = restated(attacker, *kit_order(members, others))
    assert (found.accuracy, found.accuracy_sd) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    assert (found.auc, found.auc_sd) == pytest.approx((np.mean(areas), np.std(areas, ddof=1)))


def test_losses_shifted_into_both_tails_are_found_by_all_but_the_line() -> None:
    rng = np.random.default_rng(2)
    others = rng.normal(5, 0.5, 120)
    members = 5 + np.where(np.arange(120) % 2 == 0, 2.5, -2.5) + rng.normal(0, 0.5, 120)
    found = mia_trio(members, others)
    assert abs(found["logistic"].accuracy - 0.5) < 0.15
    assert min(found[one].accuracy for one in ("svm", "xgboost")) > 0.95
    assert min(found[one].auc for one in ("svm", "xgboost")) > 0.95


def test_over_forgetting_is_found_as_forgetting_too_little_is() -> None:
    """The accuracy has no sign: hence the loss gap beside it."""
    rng = np.random.default_rng(3)
    others = rng.gamma(2, 1, 150)
    known, inverted = mia_trio(others - 2 - rng.random(150), others), mia_trio(others + 2 + rng.random(150), others)
    for attacker in ATTACKERS:
        assert min(known[attacker].accuracy, inverted[attacker].accuracy) > 0.75


def test_the_larger_side_is_cut_as_for_the_attack_in_folds_and_labels_have_no_say() -> None:
    rng = np.random.default_rng(4)
    members, others = rng.gamma(1, 1, 30), rng.gamma(1, 2, 200)
    first = mia_trio(members, others)
    np.random.seed(9)
    assert mia_trio(members, others) == first
    assert {one.n for one in first.values()} == {30} == {population_attack(members, others).n}
    assert mia_trio(members, others, seed=1) != first


@pytest.mark.parametrize(
    ("members", "others", "error", "message"),
    [
        (np.zeros(5), np.zeros(60), AttackError, "5 members; the population attack needs at least 6 a side"),
        (np.zeros(60), np.zeros(0), AttackError, "0 non-members"),
        ([np.inf, *np.zeros(9)], np.zeros(60), NonFiniteLossError, "1 of 10 members"),
        (np.zeros(60), [np.nan] * 9, NonFiniteLossError, "9 of 9 non-members"),
        (np.zeros((9, 2)), np.zeros((9, 3)), AttackError, "2 features of members, 3 of non-members"),
    ],
)
def test_what_cannot_be_attacked_is_refused(members: Any, others: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mia_trio(members, others)


def test_losses_that_are_all_alike_are_a_coin_toss() -> None:
    assert {one.auc for one in mia_trio(np.ones(30), np.ones(30)).values()} == {0.5}
