"""Friedman's test and Nemenyi's critical difference, against scipy and what Demsar printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare

from harness.metrics import UnknownMetric
from harness.ranking import critical_difference, friedman, friedman_tests
from harness.ranking.friedman import _cliques

Frame = Callable[..., pl.DataFrame]
NAN = float("nan")
METRIC = "retention_deviation"

# Demsar 2006, table 5 a: q at 5 % for 2 to 10 classifiers.
PUBLISHED = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)

# Demsar 2006, table 6: ranks of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets.
RANKS = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
)  # fmt: skip


def names(count: int) -> list[tuple[str, str]]:
    return [("abcdefghij"[place], "default") for place in range(count)]


@pytest.mark.parametrize("blocks", [3, 14])
@pytest.mark.parametrize(("methods", "q"), list(enumerate(PUBLISHED, start=2)))
def test_critical_differences_are_the_published_ones(methods: int, q: float, blocks: int) -> None:
    expected = q * math.sqrt(methods * (methods + 1) / (6 * blocks))
    assert critical_difference(methods, blocks) == pytest.approx(expected, rel=4e-4)


def test_the_example_of_demsar() -> None:
    found = friedman(RANKS, names(4))
    by_name = {method: mean for (method, _), mean in zip(found.methods, found.mean_ranks, strict=True)}
    assert [round(by_name[name], 3) for name in "abcd"] == [3.143, 2.000, 2.893, 1.964]
    ties = 1 - (3 * 6 + 60) / (14 * 60)  # three pairs and one four, of 14 (4^3 - 4); Demsar prints chi2 without it
    assert found.chi2 is not None
    assert found.chi2 * ties == pytest.approx(9.28, abs=0.01)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=0.005)
    # "Since even the difference between the best and the worst performing algorithm is already smaller than that"
    assert found.cliques == (found.methods,)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), k=st.integers(3, 8), digits=st.sampled_from([0, 1, 9]))
def test_chi2_is_that_of_scipy_also_with_ties(seed: int, n: int, k: int, digits: int) -> None:
    losses = np.round(np.random.default_rng(seed).normal(size=(n, k)), digits)
    found = friedman(losses, names(k))
    if (losses == losses[:, :1]).all():  # scipy divides by zero
        assert (found.chi2, found.chi2_p, found.f_p) == (0, 1, 1)
        return
    reference = friedmanchisquare(*losses.T)
    assert found.chi2 == pytest.approx(reference.statistic)
    assert found.chi2_p == pytest.approx(reference.pvalue)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 6), k=st.integers(2, 6))
def test_neither_names_nor_a_monotone_scale_matter(seed: int, n: int, k: int) -> None:
    random = np.random.default_rng(seed)
    losses, order = np.round(random.normal(size=(n, k)), 1), random.permutation(k)
    plain = friedman(losses, names(k))
    bent = friedman(np.exp(losses) * random.uniform(1, 2, size=(n, 1)), names(k))
    assert (bent.methods, bent.mean_ranks, bent.cliques) == (plain.methods, plain.mean_ranks, plain.cliques)
    moved = friedman(losses[:, order], [names(k)[at] for at in order])
    assert dict(zip(moved.methods, moved.mean_ranks, strict=True)) == dict(
        zip(plain.methods, plain.mean_ranks, strict=True)
    )
    assert moved.chi2 == pytest.approx(plain.chi2)
    reverse = friedman(-losses, names(k))
    means = dict(zip(reverse.methods, reverse.mean_ranks, strict=True))
    assert [means[one] for one in plain.methods] == pytest.approx([k + 1 - mean for mean in plain.mean_ranks])


def test_iman_and_davenport_by_hand() -> None:
    """Ranks 1 2 3, 1 2 3, 2 1 3: sums 4 5 9; chi2 = 12 / 36 * 122 - 36 = 14 / 3; F = 2 * 14/3 / (6 - 14/3) = 7."""
    found = friedman(np.array([[0.1, 0.2, 0.3], [5.0, 6.0, 7.0], [0.2, 0.1, 0.9]]), names(3))
    assert found.chi2 == pytest.approx(14 / 3)
    assert found.f == pytest.approx(7)
    # The survival of F(2, 4) is (1 + f / 2) ** -2.
    assert found.f_p == pytest.approx((1 + 7 / 2) ** -2)
    assert found.chi2_p == pytest.approx(math.exp(-7 / 3))


def test_where_all_blocks_agree_the_p_value_is_that_of_all_arrangements() -> None:
    losses = np.array([[0.1, 0.2, 0.3]] * 3)
    found = friedman(losses, names(3))
    orders = list(permutations((1, 2, 3)))
    agree = sum(a == b == c for a, b, c in product(orders, repeat=3)) / len(orders) ** 3
    assert (found.f, found.f_p) == (None, pytest.approx(agree))
    tied = friedman(np.array([[0.1, 0.2, 0.2]] * 3), names(3))
    assert (tied.f, tied.f_p) == (None, pytest.approx(1 / 9))


def test_equal_methods_do_not_differ() -> None:
    found = friedman(np.full((4, 3), 0.1 + 0.2) + np.array([0, 1e-16, 0]), names(3))
    assert (found.chi2, found.chi2_p, found.f, found.f_p) == (0, 1, 0, 1)
    assert found.cliques == (tuple(names(3)),)


@pytest.mark.parametrize(
    ("means", "difference", "expected"),
    [
        ((1.0, 1.5, 3.0, 4.2), 2.0, [(0, 2), (1, 3), (2, 4)]),  # 1 and 3 are just 2 apart: they differ
        ((1.0, 2.0, 3.0), 2.1, [(0, 3)]),
        ((1.0, 2.0, 3.0), 0.5, []),
        ((1.0, 1.1, 4.0, 4.1), 0.5, [(0, 2), (2, 4)]),
    ],
)
def test_cliques_are_the_largest_sets_that_do_not_differ(
    means: tuple[float, ...], difference: float, expected: list[tuple[int, int]]
) -> None:
    assert list(_cliques(means, difference)) == expected


def test_who_lacks_a_value_in_some_block_is_left_out_and_named() -> None:
    losses = np.array([[0.1, 0.2, NAN, 0.4], [NAN, NAN, NAN, NAN], [0.1, 0.3, 0.2, 0.5], [0.3, 0.2, 0.1, 0.4]])
    found = friedman(losses, names(4), failed=np.array([False, False, False, True]))
    assert (found.n, found.left_out) == (3, (("c", "default"), ("d", "default")))
    alone = friedman(losses[[0, 2, 3]][:, :2], names(2))
    assert (found.methods, found.mean_ranks, found.chi2) == (alone.methods, alone.mean_ranks, alone.chi2)


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([[0.1, 0.2]], "1 seed to compare in; the test needs at least 2 cells or 2 seeds"),
        ([[0.1], [0.2]], "1 method with a value in each of 2 seeds; the test needs at least 2"),
        ([[0.1, NAN], [NAN, 0.2]], "0 methods with a value in each of 2 seeds; the test needs at least 2"),
        ([[NAN, NAN], [NAN, NAN]], "0 seeds to compare in; the test needs at least 2 cells or 2 seeds"),
    ],
)
def test_what_cannot_be_tested_says_why(losses: list[list[float]], reason: str) -> None:
    found = friedman(np.array(losses), names(len(losses[0])), "seeds")
    assert found.reason == reason
    assert (found.chi2, found.f_p, found.critical_difference, found.cliques) == (None, None, None, ())


def test_blocks_are_cells_or_the_seeds_of_the_only_one(frame: Frame) -> None:
    tables = {"a": [[0.1, 0.9], [0.1, 0.1]], "b": [[0.4, 0.5], [0.2, 0.2]], "retrain": np.zeros((2, 2))}
    found = {test.group: test for test in friedman_tests(frame(tables), (METRIC,))}
    whole, first = found["overall"], found["dataset=data0"]
    assert (whole.blocks, whole.n, whole.metric) == ("cells", 2, METRIC)
    assert dict(zip(whole.methods, whole.mean_ranks, strict=True)) == {("a", "default"): 1.5, ("b", "default"): 1.5}
    assert (first.blocks, first.n) == ("seeds", 2)
    second = found["dataset=data1"]
    assert dict(zip(second.methods, second.mean_ranks, strict=True)) == {("a", "default"): 1, ("b", "default"): 2}


def test_failed_methods_are_left_out_and_the_direction_counts(frame: Frame) -> None:
    tables: dict[str, Any] = {"a": [0.9, 0.8, 0.7], "b": [0.5, 0.4, 0.6], "c": [0.7, NAN, 0.2]}
    (found,) = friedman_tests(frame(tables, metric="indiscernibility_val"), ("indiscernibility_val",))
    assert found.left_out == (("c", "default"),)
    assert found.methods == (("a", "default"), ("b", "default"))  # higher is better
    assert found.mean_ranks == (1, 2)


def test_questions_that_make_no_sense(frame: Frame) -> None:
    assert friedman_tests(frame({"a": [1]}).clear(), (METRIC,)) == []
    with pytest.raises(UnknownMetric, match="did you mean"):
        friedman_tests(frame({"a": [1]}), ("retention_deviaton",))
