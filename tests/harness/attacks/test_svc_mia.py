from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from sklearn.svm import SVC

from harness.attacks.errors import AttackError
from harness.attacks.svc_mia import Feature, outputs, svc_efficacy, svc_feature, svc_training_privacy

P = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]])
Y = np.array([0, 1, 1])


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def model_outputs(seed: int, n: int, margin: float, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model whose logit of the label is raised by `margin`, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    z = rng.normal(size=(n, classes))
    z[np.arange(n), y] += margin
    return softmax(z), y


def by_loops(p: np.ndarray, y: np.ndarray, feature: str) -> list[float]:
    values = []
    for row, label in zip(p, y, strict=True):
        if feature == "correctness":
            values.append(float(max(range(len(row)), key=lambda c: row[c]) == label))
        elif feature == "confidence":
            values.append(row[label])
        elif feature == "entropy":
            values.append(-sum(v * np.log(v) for v in row))
        elif feature == "m_entropy":
            others = sum(v * np.log(1 - v) for c, v in enumerate(row) if c != label)
            values.append(-(1 - row[label]) * np.log(row[label]) - others)
        else:
            values.append(-sum((1 - v if c in y else v) * np.log(v) for c, v in enumerate(row)))
    return values


@pytest.mark.parametrize("feature", [f for f in get_args(Feature) if f != "prob"])
@pytest.mark.parametrize("log", [False, True])
def test_features_equal_their_formulas(feature: Any, log: bool) -> None:
    p, y = model_outputs(0, 50, 1.0)
    for probabilities, labels in ((P, Y), (p, y), (p, np.ones(50, dtype=int))):
        given = np.log(probabilities) if log else probabilities
        column = svc_feature(outputs("test", given, labels, log), feature)
        np.testing.assert_allclose(column[:, 0], by_loops(probabilities, labels, feature), rtol=1e-9)


def test_the_whole_vector_is_a_feature() -> None:
    np.testing.assert_allclose(svc_feature(outputs("test", np.log(P), Y, log=True), "prob"), P)


def test_hand_computed_entropies_tell_the_two_modified_ones_apart() -> None:
    of = outputs("test", [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], [0, 2])
    ln2 = np.log(2)
    np.testing.assert_allclose(svc_feature(of, "entropy")[:, 0], [ln2, 1.5 * ln2])
    np.testing.assert_allclose(svc_feature(of, "m_entropy")[:, 0], [ln2, 0.5 * ln2 - 0.5 * np.log(0.75)])
    # classes 0 and 2 occur, so theirs are the weights 1 - p
    salun = [0.5 * ln2 + 0.5 * ln2 + 30 * np.log(10), 0.75 * 2 * ln2 + 0.25 * 2 * ln2 + 0.5 * ln2]
    np.testing.assert_allclose(svc_feature(of, "m_entropy_salun")[:, 0], salun)


def test_certain_outputs_have_finite_features() -> None:
    for feature in get_args(Feature):
        for values, log in (([[1.0, 0.0], [0.0, 1.0]], False), ([[0.0, -np.inf], [-1e-25, -900.0]], True)):
            assert np.isfinite(svc_feature(outputs("test", values, [0, 1], log), feature)).all()
    sure_and_wrong = svc_feature(outputs("test", [[-np.exp(-60.0), -60.0]], [1], log=True), "m_entropy")
    np.testing.assert_allclose(sure_and_wrong, 60 + 60, rtol=1e-9)


@pytest.mark.parametrize("feature", get_args(Feature))
def test_released_choice_equals_the_literal_recipe(feature: Any) -> None:
    retain, test, forget = (model_outputs(s, n, m) for s, n, m in ((1, 90, 3.0), (2, 60, 1.0), (3, 40, 2.0)))
    sets = [outputs(name, *o) for name, o in zip(("retain", "test", "forget"), (retain, test, forget), strict=True)]

    def column(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return p if feature == "prob" else np.array(by_loops(p, y, feature)).reshape(-1, 1)

    members, others, targets = column(*retain)[:60], column(*test), column(*forget)
    labels = [1] * 60 + [0] * 60
    attacker = SVC(C=3, kernel="rbf", gamma="auto").fit(np.concatenate((members, others)), labels)
    expected = 1 - attacker.predict(targets).mean()
    value, se = svc_efficacy(*sets, feature=feature, choice="released", refits=0)
    assert value == pytest.approx(expected)
    assert se == pytest.approx((expected * (1 - expected) / 40) ** 0.5)

    half = SVC(C=3, kernel="rbf", gamma="auto").fit(np.concatenate((members[:30], others[:30])), np.repeat([1, 0], 30))
    score = half.score(np.concatenate((members[30:], others[30:])), np.repeat([1, 0], 30))
    assert svc_training_privacy(*sets[:2], feature=feature, choice="released", refits=0)[0] == pytest.approx(score)


def test_efficacy_asks_who_the_forget_set_looks_like() -> None:
    retain, test = outputs("retain", *model_outputs(1, 200, 9.0)), outputs("test", *model_outputs(2, 200, -4.0))
    like_retain = outputs("forget", *model_outputs(3, 50, 9.0))
    like_test = outputs("forget", *model_outputs(4, 50, -4.0))
    assert svc_efficacy(retain, test, like_retain, refits=0)[0] < 0.05
    assert svc_efficacy(retain, test, like_test, refits=0)[0] > 0.95
    assert svc_training_privacy(retain, test, refits=0)[0] > 0.95


def test_alike_retain_and_test_leave_privacy_at_a_half() -> None:
    retain, test = (outputs("retain", *model_outputs(s, 800, 2.0)) for s in (5, 6))
    value, se = svc_training_privacy(retain, test, refits=0)
    assert se == pytest.approx(0.0177, abs=0.002)
    assert abs(value - 0.5) < 4 * se


def test_balanced_choice_removes_what_class_frequencies_give_away() -> None:
    """Hard classes fill the test set: membership says nothing, but the class tells the sets apart."""
    rng = np.random.default_rng(0)

    def sample(n: int, share_hard: float) -> tuple[np.ndarray, np.ndarray]:
        y = (rng.random(n) < share_hard).astype(int)
        own = np.where(y == 1, 0.6, 0.9) + rng.normal(0, 0.02, n)
        p = np.stack((1 - own, own), axis=1)
        return np.where((y == 1)[:, None], p, p[:, ::-1]), y

    retain, test = outputs("retain", *sample(1000, 0.1)), outputs("test", *sample(500, 0.9))
    assert svc_training_privacy(retain, test, choice="released", refits=0)[0] > 0.8
    assert abs(svc_training_privacy(retain, test, refits=0)[0] - 0.5) < 0.12


def test_classes_that_one_side_lacks_are_left_out() -> None:
    retain_p, retain_y = model_outputs(1, 300, 2.0)
    test, forget = (outputs(n, *model_outputs(s, 100, 1.0)) for n, s in (("test", 2), ("forget", 3)))
    others = retain_y != 3
    without = outputs("retain", retain_p[others], retain_y[others])
    seen = test.labels != 3
    test_without = outputs("test", np.exp(test.log_p[seen]), test.labels[seen])
    assert svc_efficacy(without, test, forget, refits=2) == svc_efficacy(without, test_without, forget, refits=2)
    with pytest.raises(AttackError, match="no class in common"):
        svc_efficacy(outputs("retain", P[:1], [0]), outputs("test", P[1:], [1, 1]), outputs("forget", P, Y))


def test_the_seed_alone_draws_the_examples() -> None:
    retain, test, forget = (outputs("retain", *model_outputs(s, n, 1.0)) for s, n in ((1, 400), (2, 80), (3, 200)))
    first = svc_efficacy(retain, test, forget, seed=1, refits=2)
    np.random.seed(5)
    assert svc_efficacy(retain, test, forget, seed=1, refits=2) == first
    assert svc_efficacy(retain, test, forget, seed=1, refits=3)[0] == first[0]
    assert any(svc_efficacy(retain, test, forget, seed=s, refits=0)[0] != first[0] for s in (2, 3, 4))


def test_the_error_adds_the_noise_of_the_fit_to_that_of_the_targets() -> None:
    """Many targets and few examples to fit on: over fresh draws of the latter the fit is all of the noise."""
    forget = outputs("forget", *model_outputs(0, 400, 1.0))
    values, errors = [], []
    for seed in range(16):
        retain, test = (outputs("retain", *model_outputs(s, 24, m)) for s, m in ((seed + 1, 2.0), (seed + 99, 1.0)))
        value, se = svc_efficacy(retain, test, forget, refits=6)
        values.append(value)
        errors.append(se)
    binomial = 0.5 / np.sqrt(400)
    assert np.std(values) > 3 * binomial
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) / np.std(values) < 1.6
    with pytest.raises(AttackError, match="1 refits; the noise of the fit needs at least 2"):
        svc_efficacy(forget, forget, forget, refits=1)


def test_unreadable_arrays_are_named() -> None:
    nan = P.copy()
    nan[2, 1] = np.nan
    for arguments, message in (
        (("forget", nan, Y), "forget has NaN in row 2"),
        (("test", P * [[1], [2], [1]], Y), "test has values that are not probabilities .* row 1"),
        (("test", np.log(P), Y), "not probabilities"),
        (("test", P, Y, True), "not log-probabilities"),
        (("test", P, [0, 1, 3]), r"test has a label outside of 0\.\.2 in row 2"),
        (("test", P, Y[:2]), "labels of test are"),
        (("test", P, Y * 1.0), "needs 3 integers"),
        (("retain", P[:0], Y[:0]), r"retain is \[0, 3\]"),
        (("retain", P[:, :1], Y), r"retain is \[3, 1\]"),
        (("retain", P[0], Y), r"retain is \[3\]"),
    ):
        with pytest.raises(AttackError, match=message) as caught:
            outputs(*arguments)
        assert "\n" not in str(caught.value)


def test_sets_that_do_not_fit_are_refused() -> None:
    three = outputs("retain", P, Y)
    two = outputs("test", P[:, :2] / P[:, :2].sum(axis=1, keepdims=True), [0, 1, 1])
    with pytest.raises(AttackError, match=r"\[3, 2\] classes"):
        svc_training_privacy(three, two)
    with pytest.raises(AttackError, match="unknown feature 'confidance'; did you mean 'confidence'"):
        svc_feature(three, "confidance")  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="did you mean 'released'"):
        svc_efficacy(three, three, three, choice="release")  # type: ignore[arg-type]
    single = outputs("retain", P[:1], [0])
    with pytest.raises(AttackError, match="1 retain and 1 test examples"):
        svc_training_privacy(single, single)
