"""G1 (best), G2, G3 and Failed: within a cell, and counted over cells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from harness.ranking import InvalidRanking, UnknownGroupRule, divide, rank

Frame = Callable[..., pl.DataFrame]
NAN = float("nan")
METRIC = "retention_deviation"
ONE: dict[str, Any] = {"metrics": (METRIC,), "also": (), "study": "digits", "draws": 20}
MIRRORED: tuple[Any, ...] = ("average_linkage", "jenks", "quantile")
"""Rules that know no better and worse but by the direction of the scale."""

distinct = st.integers(0, 10_000).map(lambda seed: np.random.default_rng(seed))
sizes = st.integers(1, 12)


def groups(*means: float, rule: Any = "average_linkage", spreads: Any = None) -> list[float]:
    return [float(one) for one in divide(np.array(means), rule, spreads)]


def counted(table: pl.DataFrame, method: str, group: str = "overall", metric: str = METRIC) -> list[Any]:
    row = table.filter(method=method, group=group, metric=metric).row(0, named=True)
    return [row[name] for name in ("g1", "g2", "g3", "g_failed", "group_rank")]


@pytest.mark.parametrize(
    ("rule", "means", "expected"),
    [
        ("average_linkage", (0.10, 0.12, 0.50, 0.55, 1.00), [1, 1, 2, 2, 3]),
        # 5 and 7 (2 apart) join first; then 2.5 is nearer to 0 (2.5) than to their mean (3.5).
        ("average_linkage", (0, 2.5, 5, 7, 10), [1, 1, 2, 2, 3]),
        ("average_linkage", (1, 2, 3, 4), [1, 2, 3, 3]),  # equal distances: the worse pair goes first
        ("jenks", (1, 2, 3, 10, 11, 20), [1, 1, 1, 2, 2, 3]),
        # 2 and 3.95 join first, then 0 (2.975 from them; 8 and 11 are 3 apart): squares of 7.8, where 6.4 is the least.
        ("average_linkage", (0, 2, 3.95, 8, 11), [1, 1, 1, 2, 3]),
        ("jenks", (0, 2, 3.95, 8, 11), [1, 2, 2, 3, 3]),
        ("average_linkage", (0, 0, 0, 0, 3, 5.5, 9), [1, 1, 1, 1, 2, 2, 3]),
        ("jenks", (0, 0, 0, 0, 3, 5.5, 9), [1, 1, 1, 1, 2, 2, 3]),
        ("quantile", (1, 2, 3, 40, 50, 600), [1, 1, 2, 2, 3, 3]),
        ("quantile", (1, 2, 3, 4), [1, 2, 2, 3]),
        ("quantile", (1, 2, 3, 4, 5), [1, 1, 2, 3, 3]),
        ("quantile", (1, 1, 1, 4), [1, 1, 1, 2]),
    ],
)
def test_groups_of_computed_by_hand(rule: str, means: tuple[float, ...], expected: list[int]) -> None:
    assert groups(*means, rule=rule) == expected


def test_within_one_standard_deviation_of_the_best_of_those_that_are_left() -> None:
    means, spreads = (2.0, 1.0, 1.1, 1.2, 1.24), np.array([9.0, 0.1, 5.0, 0.05, 7.0])
    assert groups(*means, rule="within_one_sd", spreads=spreads) == [3, 1, 1, 2, 2]
    assert groups(*means, rule="within_one_sd", spreads=np.full(5, NAN)) == [3, 1, 2, 3, 3]
    assert groups(1.0, 1.0, 2.0, rule="within_one_sd", spreads=np.array([0.0, 1.0, 0.0])) == [1, 1, 1]


@pytest.mark.parametrize("rule", [*MIRRORED, "within_one_sd"])
def test_few_methods_have_few_groups_and_equal_ones_share_theirs(rule: str) -> None:
    assert groups(rule=rule) == []
    assert groups(0.3, rule=rule) == [1]
    assert groups(0.5, 0.3, rule=rule) == [2, 1]
    assert groups(0.3, 0.3, 0.3, 0.3, rule=rule) == [1] * 4
    assert groups(0.1 + 0.2, 0.3, 0.9, 0.9, rule=rule) == [1, 1, 2, 2]
    np.testing.assert_equal(groups(NAN, 0.5, NAN, 0.3, rule=rule), [NAN, 2, NAN, 1])


@settings(max_examples=60, deadline=None)
@given(random=distinct, size=st.integers(3, 12))
def test_average_linkage_is_that_of_scipy(random: np.random.Generator, size: int) -> None:
    means = random.normal(size=size)
    labels = fcluster(linkage(means[:, None], "average"), 3, "maxclust")
    order = sorted(set(labels), key=lambda label: means[labels == label].mean())
    assert groups(*means) == [order.index(label) + 1 for label in labels]


@settings(max_examples=40, deadline=None)
@given(random=distinct, size=st.integers(3, 9))
def test_natural_breaks_have_the_least_squares_of_all(random: np.random.Generator, size: int) -> None:
    means = np.sort(random.normal(size=size))

    def squares(parts: list[Any]) -> float:
        return float(sum(((part - part.mean()) ** 2).sum() for part in parts))

    found = divide(means, "jenks")
    least = min(squares(np.split(means, borders)) for borders in combinations(range(1, size), 2))
    assert squares([means[found == group] for group in (1, 2, 3)]) == pytest.approx(least)


@pytest.mark.parametrize("rule", MIRRORED)
@settings(max_examples=25, deadline=None)
@given(random=distinct, size=sizes)
def test_names_scale_and_direction_are_but_names_scale_and_direction(
    rule: Any, random: np.random.Generator, size: int
) -> None:
    means = random.normal(size=size)
    plain = divide(means, rule)
    order = random.permutation(size)
    assert divide(means[order], rule).tolist() == plain[order].tolist()
    assert divide(3 * means + 7, rule).tolist() == plain.tolist()
    assert divide(-means, rule).tolist() == (plain.max() + 1 - plain).tolist()
    assert set(plain) == set(range(1, min(3, size) + 1))


def test_thirds_depend_on_the_order_alone() -> None:
    means = np.array([0.3, 0.1, 0.7, 0.2, 0.9])
    assert divide(np.exp(9 * means), "quantile").tolist() == divide(means, "quantile").tolist() == [2, 1, 3, 1, 3]


def test_an_unknown_rule_is_refused_with_the_nearest(frame: Frame) -> None:
    with pytest.raises(UnknownGroupRule, match="unknown rule 'jenk' for groups; did you mean 'jenks'"):
        rank(frame({"a": [1, 2]}), groups="jenk", **ONE)
    with pytest.raises(InvalidRanking, match="no metric"):
        rank(frame({"a": [1, 2]}), study="digits", metrics=())


THREE = [(name, "random:0.1", "cnn") for name in ("digits", "fashion", "mnist")]
TABLES = {
    "a": [[0.1, 0.1], [0.5, 0.5], [0.1, 0.1]],  # G1 G2 G1
    "b": [[0.5, 0.5], [0.1, 0.1], [0.5, 0.5]],  # G2 G1 G2
    "c": [[0.9, 0.9], [0.9, 0.9], [0.9, 0.9]],  # G3 G3 G3
    "d": [[0.1, 0.1], [0.1, 0.1], [0.1, NAN]],  # G1 G1 Failed
    "e": [[NAN, NAN], [NAN, NAN], [NAN, 0.1]],  # Failed everywhere
}


def test_groups_are_counted_over_cells_and_ranked_in_turn(frame: Frame) -> None:
    references = {"retrain": np.zeros((3, 2)), "original": np.zeros((3, 2))}
    table = rank(frame(TABLES | references, cells=THREE), **ONE)
    assert counted(table, "a") == [2, 1, 0, 0, 1]  # before d: as many G1, more G2
    assert counted(table, "d") == [2, 0, 0, 1, 2]
    assert counted(table, "b") == [1, 2, 0, 0, 3]
    assert counted(table, "c") == [0, 0, 3, 0, 4]
    assert counted(table, "e") == [0, 0, 0, 3, None]
    assert counted(table, "retrain") == counted(table, "original") == [None] * 5
    assert counted(table, "a", metric="overall") == [None] * 5
    assert counted(table, "d", group="dataset=mnist") == [0, 0, 0, 1, None]
    assert counted(table, "a", group="dataset=fashion") == [0, 1, 0, 0, 3]
    assert counted(table, "b", group="dataset=fashion") == [1, 0, 0, 0, 1.5]


def test_a_majority_must_fail_where_that_is_the_rule(frame: Frame) -> None:
    table = rank(frame(TABLES, cells=THREE), failed="majority", **ONE)
    assert counted(table, "d")[:4] == [3, 0, 0, 0]  # one of two is no majority
    assert counted(table, "e")[:4] == [1, 0, 0, 2]


def test_equal_groups_are_told_apart_by_the_mean_and_else_share_the_places(frame: Frame) -> None:
    tables = {"far": [0.11], "near": [0.1], "same": [0.11], "mid": [0.5], "last": [0.9]}
    table = rank(frame(tables), **ONE)
    assert [counted(table, method)[0] for method in ("near", "far", "same")] == [1, 1, 1]
    assert [counted(table, method)[4] for method in ("near", "far", "same", "mid", "last")] == [1, 2.5, 2.5, 4, 5]


def test_a_method_that_did_not_run_in_a_cell_is_in_no_group_there(frame: Frame) -> None:
    some = frame({"a": [[0.1], [0.1]], "b": [[0.2], [0.2]]}, cells=THREE[:2])
    table = rank(pl.concat([some, frame({"c": [[0.3]]}, cells=THREE[:1])]), **ONE)
    assert counted(table, "c")[:4] == [0, 0, 1, 0]
    assert counted(table, "b")[:4] == [0, 2, 0, 0]


def test_groups_follow_the_direction_of_the_metric(frame: Frame) -> None:
    values = {"a": [0.1], "b": [0.12], "c": [0.5], "d": [0.9]}
    lower = rank(frame(values), **ONE)
    options = ONE | {"metrics": ("indiscernibility_val",)}
    higher = rank(frame(values, metric="indiscernibility_val"), **options)
    for method in values:
        assert counted(higher, method, metric="indiscernibility_val")[:3] == counted(lower, method)[2::-1]
    closest = rank(
        frame({"a": [0.51], "b": [0.2], "c": [0.9], "d": [0.5]}, metric="population_mia_val"),
        **(ONE | {"metrics": ("population_mia_val",)}),
    )
    found = [counted(closest, method, metric="population_mia_val")[:3] for method in "abcd"]
    assert found == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_the_rule_is_a_choice(frame: Frame) -> None:
    values = frame({"a": [0.1, 0.3], "b": [0.25, 0.27], "c": [0.5, 0.5], "d": [0.9, 0.9]})
    assert counted(rank(values, **ONE), "b")[:3] == [1, 0, 0]
    assert counted(rank(values, groups="quantile", **ONE), "b")[:3] == [0, 1, 0]
    assert counted(rank(values, groups="within_one_sd", **ONE), "b")[:3] == [1, 0, 0]
    assert counted(rank(values, groups="within_one_sd", **ONE), "c")[:3] == [0, 1, 0]


def test_fewer_failures_come_before_the_better_mean(frame: Frame) -> None:
    """Both are in G1 once; one failed in the other cell, where the other did not run."""
    both = frame({"lost": [[0.10], [NAN]], "mid": [[0.5], [0.5]], "far": [[0.9], [0.9]]}, cells=THREE[:2])
    table = rank(pl.concat([both, frame({"kept": [[0.11]]}, cells=THREE[:1])]), **ONE)
    assert counted(table, "lost")[:4] == [1, 0, 0, 1]
    assert counted(table, "kept")[:4] == [1, 0, 0, 0]
    # In the second cell only mid and far are left: mid is in G1 there, and in G2 in the first.
    assert [counted(table, method)[4] for method in ("mid", "kept", "lost", "far")] == [1, 2, 3, 4]
