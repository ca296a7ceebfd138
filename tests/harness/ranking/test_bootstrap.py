from __future__ import annotations

import random
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import norm, rankdata, t

from harness.ranking import differs_from_zero, has_replicates, hierarchical_mean, interval, resample
from harness.ranking.bootstrap import Bools, Floats, Resample, ranks

NAN = float("nan")


def ragged(cells: int, seeds: int, methods: int, missing: float, seed: int) -> tuple[Floats, Bools]:
    """Values [cells, seeds, methods] with holes, and a grid of unlike numbers of seeds."""
    rng = np.random.default_rng(seed)
    grid = rng.random((cells, seeds)) < 0.7
    grid[:, 0] = True
    values = rng.normal(size=(cells, seeds, methods)) + 3 * rng.normal(size=(cells, 1, methods))
    values[rng.random(values.shape) < missing] = NAN
    values[~grid] = NAN
    return values, grid


def mean_of_means(cells: list[list[float]]) -> float:
    """The statistic, literally: NaN values and cells without any value do not count."""
    present = [[value for value in seeds if value == value] for seeds in cells]
    means = [statistics.fmean(seeds) for seeds in present if seeds]
    return statistics.fmean(means) if means else NAN


def drawn_cells(resampled: Resample, draw: int, column: Floats) -> list[list[float]]:
    """The cells of one draw as lists of values, from what the draws say about themselves."""
    cells = []
    for cell, (places, counts) in enumerate(zip(resampled.places, resampled.counts, strict=True)):
        for place, count in zip(places, counts, strict=True):
            if place % resampled.draws == draw:
                cells.append(list(np.repeat(column[cell], count.astype(int))))
    return cells


def unwidened(resampled: Resample, values: Floats) -> Floats:
    """The draws of a plain bootstrap."""
    point = hierarchical_mean(values)
    return np.asarray(point + (resampled.means(values) - point) / resampled.widening)


@pytest.mark.parametrize(("cells", "seeds"), [(1, 4), (4, 1), (5, 4)])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_each_draw_is_a_mean_over_drawn_cells_of_means_over_drawn_seeds(cells: int, seeds: int, missing: float) -> None:
    values, grid = ragged(cells, seeds, 3, missing, seed=cells)
    resampled = resample(grid, draws=40, seed=1)
    means = unwidened(resampled, values)
    for draw in range(40):
        for method in range(3):
            drawn = drawn_cells(resampled, draw, values[..., method])
            assert len(drawn) == cells
            assert means[draw, method] == pytest.approx(mean_of_means(drawn), abs=1e-9, nan_ok=True)


def test_the_point_value_is_the_mean_over_cells_of_the_mean_over_seeds() -> None:
    values, _ = ragged(6, 5, 4, 0.4, seed=2)
    expected = [mean_of_means(values[..., method].tolist()) for method in range(4)]
    assert hierarchical_mean(values) == pytest.approx(expected)
    assert np.isnan(hierarchical_mean(np.full((2, 2, 1), NAN))).all()


def test_only_seeds_that_exist_are_drawn_and_as_many_as_there_are() -> None:
    _, grid = ragged(5, 4, 1, 0, seed=3)
    resampled = resample(grid, draws=200, seed=0)
    for row, counts in zip(grid, resampled.counts, strict=True):
        assert (counts.sum(axis=1) == row.sum()).all()
        assert (counts[:, ~row] == 0).all()
        assert (counts[:, row].sum(axis=0) > 0).all()
    assert sorted(np.concatenate(resampled.places)) == list(range(5 * 200))


def test_with_one_cell_only_its_seeds_vary_and_the_draws_say_so() -> None:
    assert resample(np.ones((1, 3), bool), draws=10).resampled == "seeds"
    assert resample(np.ones((2, 3), bool), draws=10).resampled == "cells and seeds"


def plain_bootstrap(cells: list[list[float]], draws: int) -> list[float]:
    rng = random.Random(5)
    return [
        mean_of_means([rng.choices(seeds, k=len(seeds)) for seeds in rng.choices(cells, k=len(cells))])
        for _ in range(draws)
    ]


@pytest.mark.parametrize(("cells", "seeds"), [(1, 12), (8, 6)])
def test_the_interval_agrees_with_a_plain_bootstrap(cells: int, seeds: int) -> None:
    values, grid = ragged(cells, seeds, 1, 0, seed=11)
    draws = unwidened(resample(grid, draws=10_000, seed=0), values)
    plain = plain_bootstrap([row[kept].tolist() for row, kept in zip(values[..., 0], grid, strict=True)], 4_000)
    spread = statistics.stdev(plain)
    # Standard error of the spread of 4,000 draws is 1.1 %, that of a difference of the ends 0.05 spreads.
    assert draws.std() == pytest.approx(spread, rel=0.05)
    low, high = (end.item() for end in interval(draws))
    ordered = sorted(plain)
    assert low == pytest.approx(ordered[100], abs=0.2 * spread)
    assert high == pytest.approx(ordered[-101], abs=0.2 * spread)


def test_the_spread_of_the_draws_is_that_of_two_nested_draws() -> None:
    """Its variance is (variance of the cell means + mean variance within cells / seeds) / cells."""
    values = np.random.default_rng(0).normal(size=(6, 5, 1)) + np.arange(6)[:, None, None] / 3
    exact = (values.mean(axis=1).var() + values.var(axis=1).mean() / 5) / 6
    draws = unwidened(resample(np.ones((6, 5), bool), draws=40_000, seed=0), values)
    assert draws.var() == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize(("cells", "seeds", "replicates"), [(1, 3, 3), (1, 8, 8), (2, 4, 3), (7, 2, 7)])
def test_draws_are_widened_to_the_t_distribution_of_the_replicates(cells: int, seeds: int, replicates: int) -> None:
    expected = t.ppf(0.975, replicates - 1) / norm.ppf(0.975) * np.sqrt(replicates / (replicates - 1))
    assert resample(np.ones((cells, seeds), bool), draws=500, seed=0).widening == pytest.approx(expected)


def test_all_methods_share_the_draws() -> None:
    values, grid = ragged(4, 5, 1, 0, seed=4)
    draws = resample(grid, draws=500, seed=0).means(np.concatenate([values, 2 * values + 1, values], axis=2))
    assert draws[:, 1] == pytest.approx(2 * draws[:, 0] + 1)
    assert (draws[:, 0] == draws[:, 2]).all()


def test_pairing_takes_the_noise_that_methods_share_out_of_their_difference() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(4, 6, 1))
    values = shared + 0.01 * rng.normal(size=(4, 6, 2)) + np.array([0.0, 0.05])
    grid = np.ones((4, 6), bool)
    draws = resample(grid, seed=0).means(values)
    unpaired = resample(grid, seed=1).means(values[..., [1]]) - draws[:, [0]]
    paired = draws[:, [1]] - draws[:, [0]]
    widths = [(high - low).item() for low, high in (interval(paired), interval(unpaired))]
    assert widths[0] < 0.05 * widths[1]
    assert differs_from_zero(paired).item()
    assert not differs_from_zero(unpaired).item()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    values, grid = ragged(3, 4, 2, 0, seed=6)
    first, again, other = (resample(grid, draws=100, seed=seed).means(values) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_one_seed_per_cell_is_no_replicate() -> None:
    values = np.full((2, 3, 4), NAN)
    values[:, 0, 0] = 1.0
    values[0, :2, 1] = 1.0
    values[0, 0, 2] = values[1, 2, 2] = 1.0
    assert has_replicates(values).tolist() == [False, True, False, False]


columns = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.integers(1, 3)),
    elements=st.one_of(st.sampled_from([0.0, NAN]), st.floats(-3, 3)),
)


@settings(deadline=None)
@given(draws=columns, level=st.sampled_from([0.5, 0.9, 0.95]))
def test_a_difference_is_told_from_zero_when_its_interval_is(draws: Floats, level: float) -> None:
    low, high = interval(draws, level)
    expected = [lower > 0 or upper < 0 for lower, upper in zip(low, high, strict=True)]
    assert differs_from_zero(draws, level).tolist() == expected


@settings(deadline=None)
@given(draws=columns)
def test_an_interval_mirrors_with_its_values_and_ignores_missing_draws(draws: Floats) -> None:
    low, high = interval(draws)
    mirrored_low, mirrored_high = interval(-draws)
    assert np.array_equal(low, -mirrored_high, equal_nan=True)
    assert np.array_equal(high, -mirrored_low, equal_nan=True)
    for column, lower, upper in zip(draws.T, low, high, strict=True):
        kept = column[~np.isnan(column), None]
        alone = interval(kept) if len(kept) else (np.array([NAN]), np.array([NAN]))
        assert np.array_equal(alone, ([lower], [upper]), equal_nan=True)


def test_an_interval_leaves_out_two_and_a_half_percent_at_each_end() -> None:
    low, high = interval(np.arange(10_000.0)[::-1, None])
    assert (low.item(), high.item()) == (250, 9_749)


@settings(deadline=None)
@given(losses=arrays.arrays(np.float64, (4, 5), elements=st.sampled_from([0.0, 1.0, 1.5, 2.0, NAN])))
def test_ranks_are_mean_ranks_among_those_present(losses: Floats) -> None:
    expected = rankdata(losses, axis=1, nan_policy="omit")
    assert np.array_equal(ranks(losses), expected, equal_nan=True)


@pytest.mark.parametrize(("seeds", "share"), [(3, 0.95), (10, 0.95)])
def test_the_interval_covers_as_often_as_its_docstring_says(seeds: int, share: float) -> None:
    """Without the widening it would be 75 % for 3 seeds: their range, with the mean outside it 1 time in 4."""
    values: Any = np.random.default_rng(2).normal(size=(1, seeds, 4_000))
    low, high = interval(resample(np.ones((1, seeds), bool), draws=1_000, seed=0).means(values))
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(share, abs=0.025)
