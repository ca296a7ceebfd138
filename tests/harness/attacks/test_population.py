from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

from harness.attacks.errors import AttackError, NonFiniteLossError
from harness.attacks.population import hanley_mcneil_se, population_auc, population_mia


def reference_accuracy(members: np.ndarray, nonmembers: np.ndarray) -> float:
    """The recipe of Cadet et al. 2024 with scikit-learn's own cross-validation and numpy's global state."""
    state = np.random.get_state()
    np.random.seed(123)
    first, second = nonmembers.copy(), members.copy()
    np.random.shuffle(first)
    np.random.shuffle(second)
    np.random.set_state(state)
    n = min(len(first), len(second))
    x = np.concatenate((second[:n], first[:n])).reshape(-1, 1)
    y = np.array([0] * n + [1] * n)
    splits = StratifiedShuffleSplit(n_splits=10, random_state=123)
    return float(cross_val_score(LogisticRegression(), x, y, cv=splits, scoring="accuracy").mean())


@pytest.mark.parametrize(("n1", "n0", "scale"), [(200, 200, 1.0), (60, 900, 2.0), (901, 333, 30.0), (6, 6, 1.0)])
def test_equals_the_literal_recipe(n1: int, n0: int, scale: float) -> None:
    rng = np.random.default_rng(n1)
    members, nonmembers = rng.gamma(1, 1, n1), rng.gamma(1, scale, n0)
    before = members.copy()
    assert population_mia(members, nonmembers) == reference_accuracy(members, nonmembers)
    np.testing.assert_array_equal(members, before)


def test_seed_moves_the_value_and_nothing_else_does() -> None:
    rng = np.random.default_rng(3)
    members, nonmembers = rng.gamma(1, 1, 150), rng.gamma(1, 2, 400)
    np.random.seed(9)
    assert population_mia(members, nonmembers) == population_mia(members, nonmembers, seed=123)
    assert population_mia(members, nonmembers) != population_mia(members, nonmembers, seed=124)


def test_alike_is_a_half_and_apart_is_one() -> None:
    rng = np.random.default_rng(0)
    alike = rng.gamma(1, 1, (2, 4000))
    assert abs(population_mia(alike[0], alike[1]) - 0.5) < 0.02
    assert population_mia(alike[0], alike[1] + 50) == 1.0
    assert population_mia(alike[0] + 50, alike[1]) == 1.0


def test_a_diverged_model_has_no_value() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteLossError, match="1 of 10 losses of non-members"):
            population_mia(np.ones(10), np.array([bad, *np.ones(9)]))
    with pytest.raises(AttackError, match="5 members"):
        population_mia(np.ones(5), np.ones(10))


def test_threshold_form_reports_the_direction_and_the_hanley_mcneil_error() -> None:
    value, se = population_auc([3.0, 1.0], [2.0, 0.0, -1.0])
    assert value == pytest.approx(5 / 6)
    q1, q2 = (5 / 6) / (2 - 5 / 6), 2 * (5 / 6) ** 2 / (1 + 5 / 6)
    expected = 5 / 6 * 1 / 6 + (q1 - 25 / 36) + 2 * (q2 - 25 / 36)
    assert se == pytest.approx((expected / 6) ** 0.5)
    assert population_auc([2.0, 0.0, -1.0], [3.0, 1.0])[0] == pytest.approx(1 / 6)


def test_hanley_mcneil_error_has_the_known_null_value() -> None:
    assert hanley_mcneil_se(0.5, 40, 90) == pytest.approx(np.sqrt((40 + 90 + 1) / (12 * 40 * 90)))
    assert hanley_mcneil_se(1.0, 40, 90) == 0.0
