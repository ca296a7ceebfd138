"""The groups of the paper: within one cell G1 (best), G2, G3 and Failed, and how often a method is in which.

Cadet et al. 2024 (arXiv 2410.01276) order methods by such groups and call a method Failed that gives no usable model.
How they draw the borders is not known, so the rule can be chosen; the default is average linkage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from harness.errors import HarnessError, did_you_mean
from harness.ranking.bootstrap import Bools, Floats, cell_means, cell_spreads, hierarchical_mean, ranks

GroupRule = Literal["average_linkage", "jenks", "quantile", "within_one_sd"]

GROUPS = 3
FAILED = GROUPS + 1
"""Stands for the group Failed: behind all others."""

COUNTS = ("g1", "g2", "g3", "g_failed")
COLUMNS = (*COUNTS, "group_rank")

_DECIMALS = 12


class UnknownGroupRule(HarnessError):
    """A rule for groups that nobody wrote."""


def check_rule(rule: str) -> None:
    """Raise UnknownGroupRule, with the nearest known name, unless the rule is one of `GroupRule`."""
    if rule not in get_args(GroupRule):
        raise UnknownGroupRule(f"unknown rule {rule!r} for groups{did_you_mean(rule, get_args(GroupRule))}")


def divide(means: Floats, rule: GroupRule = "average_linkage", spreads: Floats | None = None) -> Floats:
    """Return the group of each method, [methods], from 1 (best), by its mean loss in one cell; NaN where that is NaN.

    Equal means are in one group, so there are at most as many groups as different means, and never more than 3.

    * `average_linkage`: agglomerative clustering; the two clusters whose members are nearest on average become one
      until 3 are left (Sokal and Michener 1958). Of two pairs equally near the worse one goes first.
    * `jenks`: the borders with the least squared deviation from the group means (Fisher 1958, JASA 53; Jenks 1967).
      Of several such borders the ones that leave the better groups small.
    * `quantile`: thirds of the methods by rank.
    * `within_one_sd`: the best method opens G1, and everyone joins it whose mean is within its standard deviation over
      seeds, `spreads` [methods]; the best of the others opens G2 in the same way; the rest is G3. A standard deviation
      that is not known (NaN: one seed) counts as 0.

    Raises UnknownGroupRule.
    """
    check_rule(rule)
    groups = np.full(len(means), np.nan)
    known = np.flatnonzero(~np.isnan(means))
    if not len(known):
        return groups
    own = np.round(means[known], _DECIMALS)
    if rule == "within_one_sd":
        of_method = np.zeros(len(means)) if spreads is None else np.nan_to_num(spreads)
        groups[known] = _within_one_sd(own, of_method[known])
        return groups
    levels, level_of, counts = np.unique(own, return_inverse=True, return_counts=True)
    groups[known] = _RULES[rule](levels, counts.astype(np.float64))[level_of]
    return groups


def divide_cells(losses: Floats, failed: Bools, rule: GroupRule = "average_linkage") -> Floats:
    """Return groups, [cells, methods], from losses [cells, seeds, methods]: 1 to 3, 4 (`FAILED`), NaN for neither.

    `failed` [cells, methods] says who failed in which cell; whoever did not and has no value is in no group. Losses are
    lower for the better, whatever the direction of their metric.
    """
    means = np.where(failed, np.nan, cell_means(losses))
    pairs = zip(means, cell_spreads(losses), strict=True)
    groups = np.array([divide(of_cell, rule, spreads) for of_cell, spreads in pairs]).reshape(means.shape)
    return np.where(failed, FAILED, groups)


def group_columns(losses: Floats, failed: Bools, ranked: Bools, rule: GroupRule) -> dict[str, Floats]:
    """Return the columns `COLUMNS` of `rankings`, each [methods]: in how many cells a method is in each group, and its
    rank by that, NaN for references (who are not `ranked`, [methods]).

    The rank is lexicographic: more G1, then more G2, then more G3, then fewer Failed, then the lower mean loss over the
    cells in which the method did not fail. Who is equal in all that shares the mean of the places. Who is in none of
    G1 to G3 has no rank.
    """
    own, failed = np.where(ranked, losses, np.nan), failed & ranked
    groups = divide_cells(own, failed, rule)
    counts = {group: np.sum(groups == group, axis=0).astype(np.float64) for group in range(1, FAILED + 1)}
    loss = np.nan_to_num(hierarchical_mean(np.where(failed[:, None, :], np.nan, own)), nan=np.inf)
    keys = [*(-counts[group] for group in range(1, FAILED)), counts[FAILED], loss]
    grouped = np.sum([counts[group] for group in range(1, FAILED)], axis=0) > 0
    rank = ranks(np.where(grouped, _dense(keys), np.nan)[None])[0]
    columns = dict(zip(COLUMNS, (*counts.values(), rank), strict=True))
    return {name: np.where(ranked, column, np.nan) for name, column in columns.items()}


def counts_text(row: Mapping[str, Any]) -> str | None:
    """Return the counts of a row of `rankings` as G1/G2/G3/Failed, None where there are none."""
    counts = [row[name] for name in COUNTS]
    return None if None in counts else "/".join(map(str, counts))


def no_group_columns(methods: int) -> dict[str, Floats]:
    """Return the same columns where there is nothing to divide."""
    return {name: np.full(methods, np.nan) for name in COLUMNS}


def _dense(keys: Sequence[Floats]) -> Floats:
    """Return the place of each method among the different ones, by the first key, then the second, and so on."""
    rows = list(zip(*keys, strict=True))
    places = {row: place for place, row in enumerate(sorted(set(rows)))}
    return np.array([places[row] for row in rows], dtype=np.float64)


def _average_linkage(levels: Floats, counts: Floats) -> Floats:
    """On a line the nearest clusters are neighbours, and their members' mean distance is that of their means."""
    clusters = [[place] for place in range(len(levels))]
    while len(clusters) > GROUPS:
        means = [np.average(levels[cluster], weights=counts[cluster]) for cluster in clusters]
        gaps = np.round(np.diff(means), _DECIMALS)
        at = int(np.flatnonzero(gaps == gaps.min())[-1])
        clusters[at : at + 2] = [clusters[at] + clusters[at + 1]]
    return np.repeat(np.arange(1.0, len(clusters) + 1), [len(cluster) for cluster in clusters])


def _jenks(levels: Floats, counts: Floats) -> Floats:
    def cost(borders: tuple[int, ...]) -> float:
        parts = zip((0, *borders), (*borders, len(levels)), strict=True)
        return round(sum(_squares(levels[a:b], counts[a:b]) for a, b in parts), _DECIMALS)

    borders = min(combinations(range(1, len(levels)), min(GROUPS, len(levels)) - 1), key=cost)
    return np.searchsorted(borders, np.arange(len(levels)), side="right").astype(np.float64) + 1


def _squares(levels: Floats, counts: Floats) -> float:
    return float(counts @ (levels - np.average(levels, weights=counts)) ** 2)


def _quantile(levels: Floats, counts: Floats) -> Floats:
    """The middle of a method's place, (rank - 1/2) / n, says in which third it is; equal methods share their rank."""
    twice = 2 * np.cumsum(counts) - counts  # 2 rank - 1, so that nothing is rounded
    third = GROUPS * twice // (2 * counts.sum())
    return np.unique(third, return_inverse=True)[1].astype(np.float64) + 1


def _within_one_sd(means: Floats, spreads: Floats) -> Floats:
    groups, remaining = np.full(len(means), float(GROUPS)), np.arange(len(means))
    for group in range(1, GROUPS):
        if not len(remaining):
            break
        best = means[remaining].min()
        reach = spreads[remaining[means[remaining] == best]].max()
        near = np.round(means[remaining] - best, _DECIMALS) <= np.round(reach, _DECIMALS)
        groups[remaining[near]] = group
        remaining = remaining[~near]
    return groups


_RULES: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "average_linkage": _average_linkage,
    "jenks": _jenks,
    "quantile": _quantile,
}
