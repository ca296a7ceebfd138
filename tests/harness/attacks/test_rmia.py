from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.attacks.curves import auc
from harness.attacks.errors import AttackError
from harness.attacks.rmia import OFFLINE_A, rmia, tune_offline_a

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def references(seed: int = 0, n: int = 9, z: int = 40, models: int = 6) -> Arrays:
    """target [2, n], population_target [2, Z], phi [N, n], inside [N, n] with both worlds, population_phi [N, Z]."""
    rng = np.random.default_rng(seed)
    easy, easy_z = rng.normal(1, 2, n), rng.normal(1, 2, z)
    inside = np.array([rng.permutation(np.arange(models) < models // 2) for _ in range(n)]).T
    phi = easy + rng.normal(size=(models, n)) + 1.5 * inside
    return (
        easy + rng.normal(size=(2, n)),
        easy_z + rng.normal(size=(2, z)),
        phi,
        inside,
        easy_z + rng.normal(size=(models, z)),
    )


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def brute_force(arrays: Arrays, a: float | None, gamma: float) -> np.ndarray:
    """The definition with probabilities, an explicit loop over pairs, and no sorting."""
    target, z_target, phi, inside, z_phi = arrays
    scores = np.zeros(target.shape)
    for t in range(len(target)):
        for i in range(target.shape[1]):
            out = np.mean([sigmoid(v) for v, m in zip(phi[:, i], inside[:, i], strict=True) if not m])
            if a is None:
                p_x = (out + np.mean([sigmoid(v) for v, m in zip(phi[:, i], inside[:, i], strict=True) if m])) / 2
            else:
                p_x = 0.5 * ((1 + a) * out + (1 - a))
            r_x = sigmoid(target[t, i]) / p_x
            for j in range(z_target.shape[1]):
                p_z = np.mean(sigmoid(z_phi[:, j]))
                p_z = p_z if a is None else 0.5 * ((1 + a) * p_z + (1 - a))
                scores[t, i] += r_x / (sigmoid(z_target[t, j]) / p_z) > gamma
    return scores / z_target.shape[1]


@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 0.8])
def test_equals_the_definition_over_all_pairs(a: float | None, gamma: float) -> None:
    arrays = references()
    expected = brute_force(arrays, a, gamma)
    variant: Any = "online" if a is None else "offline"
    scores = rmia(*arrays, variant=variant, a=a, gamma=gamma)
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert 0 < expected.mean() < 1
    first = rmia(arrays[0][0], arrays[1][0], *arrays[2:], variant=variant, a=a, gamma=gamma)
    np.testing.assert_array_equal(first, scores[0])


def test_a_small_case_by_hand() -> None:
    logit = np.log(np.array([0.2, 0.4, 0.5, 0.6, 0.8]) / np.array([0.8, 0.6, 0.5, 0.4, 0.2]))
    p2, p4, p5, p6, p8 = logit
    # references: OUT .4, IN .6 -> p(x) = .5, ratio .8 / .5 = 1.6; population ratios .8/.5 = 1.6, .5/.5 = 1, .2/.4 = .5
    arrays = ([p8], [p8, p5, p2], [[p4], [p6]], [[False], [True]], [[p4, p5, p4], [p6, p5, p4]])
    assert rmia(*arrays, gamma=1.01) == pytest.approx([2 / 3])
    assert rmia(*arrays, gamma=1.7) == pytest.approx([1 / 3])
    assert rmia(*arrays, gamma=3.3) == pytest.approx([0.0])
    # offline, a = .5: p(x) = .5 (1.5 * .4 + .5) = .55, ratio 1.4545; population .8/.625, .5/.625, .2/.55
    assert rmia(*arrays, variant="offline", a=0.5, gamma=1.01) == pytest.approx([1.0])
    assert rmia(*arrays, variant="offline", a=0.5, gamma=1.2) == pytest.approx([2 / 3])


def test_order_of_references_examples_and_population_is_irrelevant() -> None:
    rng = np.random.default_rng(1)
    target, z_target, phi, inside, z_phi = references(2)
    scores = rmia(target, z_target, phi, inside, z_phi)
    n, z, r = rng.permutation(9), rng.permutation(40), rng.permutation(6)
    moved = rmia(target[:, n], z_target[:, z], phi[r][:, n], inside[r][:, n], z_phi[r][:, z])
    np.testing.assert_array_equal(moved, scores[:, n])


def test_score_rises_with_the_target_and_falls_with_gamma() -> None:
    arrays = references(3)
    scores = rmia(*arrays)
    assert (rmia(arrays[0] + 1, *arrays[1:]) >= scores).all()
    assert (rmia(*arrays, gamma=1.5) <= scores).all()
    assert rmia(*arrays, gamma=1.5).mean() < scores.mean()
    assert (rmia(*arrays, gamma=1e9) == 0).all()
    assert (rmia(*arrays, gamma=1e-9) == 1).all()


def test_one_reference_finds_members_that_the_confidence_of_the_target_does_not() -> None:
    rng = np.random.default_rng(4)
    easy, easy_z, member = rng.normal(0, 4, 2000), rng.normal(0, 4, 500), rng.random(2000) < 0.5
    target = easy + rng.normal(0, 0.3, 2000) + member
    reference, none = easy + rng.normal(0, 0.3, 2000), np.zeros((1, 2000), dtype=bool)
    z_target, z_phi = rng.normal(easy_z, 0.3), rng.normal(easy_z, 0.3)
    aucs = []
    for a in (0.0, 1.0):  # the constant of a = 0 dilutes the reference
        scores = rmia(target, z_target, reference[None], none, z_phi[None], variant="offline", a=a)
        aucs.append(auc(scores[member], scores[~member]))
    plain = auc(target[member], target[~member])
    assert plain + 0.05 < aucs[0] < aucs[1] - 0.02


def test_probabilities_that_underflow_keep_their_ratio() -> None:
    arrays = ([-2000.0, -1000.0], [-1500.0], [[-2001.0, -999.0]], [[False, False]], [[-1500.0]])
    np.testing.assert_array_equal(rmia(*arrays, variant="offline", a=1.0), [1.0, 0.0])


def test_nan_is_left_out_of_means_and_population_and_scores_a_half() -> None:
    target, z_target, phi, inside, z_phi = references(5)
    row, hole = phi.copy(), z_phi.copy()
    row[2], hole[2] = np.nan, np.nan
    rest = np.arange(6) != 2
    expected = rmia(target, z_target, phi[rest], inside[rest], z_phi[rest])
    np.testing.assert_array_equal(rmia(target, z_target, row, inside, hole), expected)

    other_target, other_z = target.copy(), z_target.copy()
    other_target[0, 3] = np.nan
    other_z[0, 7] = np.nan
    other_z[1] = np.nan
    scores = rmia(other_target, other_z, phi, inside, z_phi)
    known = np.arange(40) != 7
    expected = rmia(target[0], z_target[0, known], phi, inside, z_phi[:, known])
    expected[3] = 0.5
    np.testing.assert_array_equal(scores[0], expected)
    assert (scores[1] == 0.5).all()


def test_an_example_without_references_is_blank() -> None:
    target, z_target, phi, inside, z_phi = references()
    inside[:, 2] = True
    inside[:, 5] = False
    online = rmia(target, z_target, phi, inside, z_phi)
    offline = rmia(target, z_target, phi, inside, z_phi, variant="offline", a=0.3)
    assert np.isnan(online[:, [2, 5]]).all()
    assert np.isnan(offline[:, 2]).all()
    assert np.isfinite(np.delete(online, [2, 5], axis=1)).all()
    assert np.isfinite(np.delete(offline, 2, axis=1)).all()


def test_ml_privacy_meter_averages_the_largest_half_with_zeros_for_inside() -> None:
    target, z_target, phi, inside, z_phi = references(6)
    inside[:, 1] = np.arange(6) < 5  # one OUT reference, k = 3
    a, p_z = 0.4, sigmoid(z_phi)
    mean_z = np.array([sum(sorted(column)[-3:]) / 3 for column in p_z.T])
    mean_x = np.array([sum(sorted(c)[-3:]) / 3 for c in (sigmoid(phi) * ~inside).T])
    r_x = sigmoid(target) / ((1 + a) / 2 * mean_x + (1 - a) / 2)
    r_z = sigmoid(z_target) / ((1 + a) / 2 * mean_z + (1 - a) / 2)
    expected = np.array([[np.mean(x / z > 1) for x in row] for row, z in zip(r_x, r_z, strict=True)])
    scores = rmia(target, z_target, phi, inside, z_phi, variant="offline", a=a, ml_privacy_meter=True)
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    plain = rmia(target, z_target, phi, inside, z_phi, variant="offline", a=a)
    assert (scores >= plain).all()  # a larger p(z), and a p(x) that is the same or smaller
    assert (scores > plain).any()


def test_tuning_returns_the_candidate_of_the_largest_auc() -> None:
    rng = np.random.default_rng(8)
    _, _, phi, inside, z_phi = references(7, n=200, z=100, models=8)
    truth = inside[0]
    chosen = tune_offline_a(phi[0], z_phi[0], truth, phi[1:], inside[1:], z_phi[1:])
    aucs = []
    for a in np.arange(11) / 10:
        s = rmia(phi[0], z_phi[0], phi[1:], inside[1:], z_phi[1:], variant="offline", a=a)
        aucs.append(np.mean(np.sign(s[truth][:, None] - s[~truth]) / 2 + 0.5))
    assert chosen == OFFLINE_A[int(np.argmax(aucs))]
    assert max(aucs) > min(aucs)
    # nothing to gain from a reference that tells nothing
    noise = rng.normal(size=(7, 200)), rng.normal(size=(7, 100))
    assert tune_offline_a(phi[0], z_phi[0], truth, noise[0], inside[1:], noise[1]) < chosen


def test_tuning_refuses_a_model_without_known_members() -> None:
    _, _, phi, inside, z_phi = references()
    with pytest.raises(AttackError, match="needs members and non-members"):
        tune_offline_a(phi[0], z_phi[0], np.ones(9, dtype=bool), phi[1:], inside[1:], z_phi[1:])
    with pytest.raises(AttackError, match=r"members \[4\], target \[9\]"):
        tune_offline_a(phi[0], z_phi[0], inside[0, :4], phi[1:], inside[1:], z_phi[1:])


def test_arrays_and_options_that_do_not_fit_are_refused() -> None:
    target, z_target, phi, inside, z_phi = arrays = references()
    for wrong in (
        (target, z_target[:, :5], phi, inside, z_phi),
        (target, z_target[0], phi, inside, z_phi),
        (target, z_target, phi, inside, z_phi[:3]),
        (target, z_target[:, :0], phi, inside, z_phi[:, :0]),
    ):
        with pytest.raises(AttackError, match=r"they are \[2, Z\] and \[6, Z\]"):
            rmia(*wrong)
    with pytest.raises(AttackError, match=r"target \[2, 8\], phi \[6, 9\]"):
        rmia(target[:, :8], z_target, phi, inside, z_phi)
    options: list[tuple[dict[str, Any], str]] = [
        ({"variant": "both"}, "unknown variant 'both'"),
        ({"variant": "offline"}, "offline needs it"),
        ({"a": 0.3}, "online has none"),
        ({"variant": "offline", "a": 1.5}, "a is 1.5; it lies between 0 and 1"),
        ({"gamma": 0.0}, "gamma is 0.0"),
        ({"ml_privacy_meter": True}, "offline only"),
    ]
    for option, message in options:
        with pytest.raises(AttackError, match=message):
            rmia(*arrays, **option)
    compatible: dict[str, Any] = {"variant": "offline", "a": 0.3, "ml_privacy_meter": True}
    z_phi[4, 11] = np.nan
    with pytest.raises(AttackError, match="population_phi row 4 is NaN at example 11"):
        rmia(*arrays, **compatible)
    with pytest.raises(AttackError, match="phi has 1 rows"):
        rmia(target, z_target, phi[:1], inside[:1], z_phi[:1], **compatible)
