"""Likeness of two models by vectors of the literature, loops written out here, and what must hold of any answers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from harness.metrics.likeness import (
    Floats,
    UnlikeArrays,
    activation_distance,
    agreement,
    js_divergence,
    js_divergence_published,
    layer_distances,
    linear_cka,
    rf_divergence,
    zrf,
)

P, Q = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
SURE, OTHER = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
PAIRWISE: dict[str, Callable[[Floats, Floats], float]] = {
    "js": js_divergence,
    "js_published": js_divergence_published,
    "activation": activation_distance,
    "agreement": agreement,
}


def answers(seed: int, images: int = 40, classes: int = 5, sharpness: float = 3.0) -> Floats:
    logits = sharpness * np.random.default_rng(seed).normal(size=(images, classes))
    shares: Floats = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares


def features(seed: int, images: int, width: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(images, width))


def test_vectors() -> None:
    assert js_divergence(P, Q) == pytest.approx(0.101749, abs=5e-7)
    assert 2 * js_divergence_published(P, Q) == pytest.approx(0.117973, abs=5e-7)
    assert js_divergence_published(P, Q) == pytest.approx(0.058987, abs=5e-7)
    assert zrf(P, [Q]) == pytest.approx(0.898251, abs=5e-7)
    assert zrf(P, [Q], js_divergence_published) == pytest.approx(0.941013, abs=5e-7)
    flipped, equal = np.vstack([SURE, SURE]), np.vstack([OTHER, SURE])
    assert activation_distance(flipped, equal) == pytest.approx(0.70711, abs=5e-6)  # root of mean square would give 1
    assert agreement(flipped, equal) == 0.5
    one, other = np.array([[1.0, 0], [0, 1], [-1, -1]]), np.array([[1.0], [2], [3]])
    assert linear_cka(one, other) == pytest.approx(0.790569, abs=5e-7)


def test_a_probability_of_0_is_no_trouble_and_the_most_is_ln_2() -> None:
    assert js_divergence(SURE, OTHER) == pytest.approx(math.log(2), rel=1e-15)
    assert js_divergence(SURE, SURE) == 0
    assert js_divergence(SURE, Q) == pytest.approx(0.5 * (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)))
    assert js_divergence_published(SURE, OTHER) == math.inf


def test_against_loops_and_scipy() -> None:
    one, other = answers(0), answers(1)
    by_scipy = [jensenshannon(p, q) ** 2 for p, q in zip(one, other, strict=True)]
    assert js_divergence(one, other) == pytest.approx(np.mean(by_scipy), rel=1e-9)
    reversed_terms = [
        0.5 * m * (math.log(m / p) + math.log(m / q))
        for p, q in zip(one.ravel(), other.ravel(), strict=True)
        for m in [(p + q) / 2]
    ]
    assert js_divergence_published(one, other) == pytest.approx(sum(reversed_terms) / one.size, rel=1e-9)
    apart = [math.dist(p, q) for p, q in zip(one, other, strict=True)]
    assert activation_distance(one, other) == pytest.approx(sum(apart) / len(apart), rel=1e-12)
    same = [
        max(range(5), key=p.__getitem__) == max(range(5), key=q.__getitem__) for p, q in zip(one, other, strict=True)
    ]
    assert agreement(one, other) == sum(same) / len(same)
    untrained = [answers(seed, sharpness=0.1) for seed in (2, 3)]
    expected = 1 - sum(js_divergence(one, net) for net in untrained) / 2
    assert zrf(one, untrained) == pytest.approx(expected, rel=1e-12)


def test_without_retrain_each_class_counts_once_and_is_a_mean_answer() -> None:
    own, unseen = answers(0), answers(1, images=60)
    labels, others = np.arange(40) % 3, np.where(np.arange(60) < 5, 0, 1)  # 2 has no unseen images; 0 has few
    expected = [jensenshannon(own[labels == c].mean(0), unseen[others == c].mean(0)) ** 2 for c in (0, 1)]
    assert rf_divergence(own, labels, unseen, others) == pytest.approx(np.mean(expected), rel=1e-9)
    assert math.isnan(rf_divergence(own, labels + 5, unseen, others))


def test_cka_by_gram_matrices_and_its_floor_of_unrelated_features() -> None:
    one, other = features(0, 30, 4), features(1, 30, 6)
    centre = np.eye(30) - 1 / 30
    grams = [centre @ x @ x.T @ centre for x in (one, other)]
    hsic = [np.trace(a @ b) for a, b in ((grams[0], grams[1]), (grams[0], grams[0]), (grams[1], grams[1]))]
    assert linear_cka(one, other) == pytest.approx(hsic[0] / math.sqrt(hsic[1] * hsic[2]), rel=1e-9)
    few, many = (linear_cka(features(2, n, 8), features(3, n, 8)) for n in (50, 2000))
    assert few > 0.05
    assert many < 0.01
    rotation = np.linalg.qr(features(4, 4, 4))[0]
    assert linear_cka(one, 3 * one @ rotation + 7) == pytest.approx(1)
    assert math.isnan(linear_cka(one, np.ones((30, 2))))
    assert math.isnan(linear_cka(one[:1], other[:1]))


def test_distances_of_weights_are_of_one_vector_and_of_each_tensor() -> None:
    retrain = {"a": np.array([[3.0, 4.0]]), "b": np.array([10.0, 0.0]), "zero": np.zeros(2)}
    own = {"a": np.array([[3.0, 5.0]]), "b": np.array([10.0, 5.0]), "zero": np.array([0.0, 2.0])}
    whole, by_layer = layer_distances(own, retrain)
    assert whole == pytest.approx(math.sqrt(1 + 25 + 4) / math.sqrt(25 + 100))
    assert by_layer == pytest.approx((1 / 5 + 5 / 10) / 2)
    assert layer_distances(retrain, retrain) == (0, 0)
    for unlike in ({"a": own["a"]}, own | {"b": np.zeros(3)}, own | {"c": np.zeros(1)}, {}):
        assert all(map(math.isnan, layer_distances(unlike, retrain)))
    assert all(map(math.isnan, layer_distances(own | {"b": np.array([np.nan, 0])}, retrain)))


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 6), st.floats(0, 60))
def test_a_model_is_like_itself_images_have_no_order_and_all_is_symmetric(
    seed: int, images: int, classes: int, sharpness: float
) -> None:
    one, other = answers(seed, images, classes, sharpness), answers(seed + 1, images, classes, sharpness)
    order = np.random.default_rng(seed).permutation(images)
    for name, measure in PAIRWISE.items():
        assert measure(one, one) == pytest.approx(1 if name == "agreement" else 0, abs=1e-12)
        assert measure(one[order], other[order]) == pytest.approx(measure(one, other), rel=1e-9, abs=1e-12)
        assert measure(one, other) == pytest.approx(measure(other, one), rel=1e-9, abs=1e-12)
    assert -1e-12 <= js_divergence(one, other) <= math.log(2) + 1e-12
    assert activation_distance(one, other) <= math.sqrt(2) + 1e-12
    x, y = features(seed, images + 2, 3), features(seed + 1, images + 2, 2)
    order = np.random.default_rng(seed).permutation(images + 2)
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x[order], y[order]) == pytest.approx(linear_cka(x, y))


@pytest.mark.parametrize("name", PAIRWISE)
def test_numbers_that_are_not_finite_are_never_taken_for_likeness(name: str) -> None:
    broken = np.where(np.arange(40)[:, None] == 3, np.nan, answers(0))
    assert math.isnan(PAIRWISE[name](broken, broken))
    assert math.isnan(PAIRWISE[name](np.empty((0, 0)), np.empty((0, 0))))
    with pytest.raises(UnlikeArrays, match=r"\[40, 5\] and \[1, 5\]"):
        PAIRWISE[name](answers(0), answers(0)[:1])
