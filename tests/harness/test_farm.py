"""The design of the farm: a fair, balanced and reproducible experiment, and the units that carry it out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.farm import (
    TUNING_FIRST,
    FarmRef,
    PoolSpec,
    PoolsTooLarge,
    clusters,
    draw_pools,
    is_tuning,
    membership,
    pairs,
)
from harness.planner import Plan, make_plan
from harness.study import load_study
from harness.unit import Kind

LABELS = np.random.default_rng(0).integers(0, 10, 1200)
CANARY, CLEAN = PoolSpec("canary", 200, "random"), PoolSpec("clean", 100)
FARM = FarmRef((CANARY, CLEAN), seed=4)

seeds = st.integers(0, 2**32)
SIGNIFICANCE = 1e-4
"""Seeds are fixed, so these tests never fail by chance; a fair draw would be rejected once in 10,000."""


@given(seed=seeds, shadow=st.integers(0, 1000), count=st.integers(1, 300))
def test_shadows_come_in_pairs_that_share_out_the_images(seed: int, shadow: int, count: int) -> None:
    inside = membership(FarmRef((), seed), shadow, count)
    assert inside.shape == (count,)
    np.testing.assert_array_equal(membership(FarmRef((), seed), shadow ^ 1, count), ~inside)
    np.testing.assert_array_equal(membership(FarmRef((), seed), shadow, count), inside)


@given(seed=seeds, shadows=st.integers(1, 20).map(lambda half: 2 * half))
@settings(max_examples=30, deadline=None)
def test_every_image_is_in_exactly_half_of_the_shadows(seed: int, shadows: int) -> None:
    farm = np.stack([membership(FarmRef((), seed), shadow, 50) for shadow in range(shadows)])
    assert set(farm.sum(axis=0)) == {shadows // 2}
    np.testing.assert_array_equal(pairs(np.arange(shadows)), np.repeat(np.arange(shadows // 2), 2))


@given(seed=seeds, shadow=st.integers(0, 1000), half=st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_a_pair_shares_out_a_pool_of_twice_the_mean_forget_set(seed: int, shadow: int, half: int) -> None:
    ref = FarmRef((PoolSpec("p", 2 * half),), seed)
    pool = draw_pools(ref, LABELS, 10)["p"].positions
    forgotten = [pool[membership(ref, number, len(LABELS))[pool]] for number in (shadow, shadow ^ 1)]
    np.testing.assert_array_equal(np.sort(np.concatenate(forgotten)), pool)
    assert np.mean([len(images) for images in forgotten]) == half


def test_a_conditional_farm_has_everything_in_every_shadow_and_the_pools_of_its_seed() -> None:
    ref = FarmRef((CANARY, CLEAN), 4, "conditional")
    assert all(membership(ref, shadow, 1200).all() for shadow in (0, 1, 7))
    for name, pool in draw_pools(ref, LABELS, 10).items():
        np.testing.assert_array_equal(pool.positions, draw_pools(FARM, LABELS, 10)[name].positions)


def test_a_cluster_is_what_shares_a_shadow_or_its_coins() -> None:
    shadows = np.array([0, 1, 2, 3, 6])
    assert clusters(FarmRef(()), shadows).tolist() == [0, 0, 1, 1, 3]
    assert clusters(FarmRef((), design="conditional"), shadows).tolist() == [0, 0, 1, 1, 3]
    assert clusters(FarmRef((), design="half_splits"), shadows).tolist() == shadows.tolist()


def test_tuning_shadows_are_pairs_of_their_own_that_no_farm_can_reach() -> None:
    shadows = np.array([0, 99_999, TUNING_FIRST, TUNING_FIRST + 1])
    assert is_tuning(shadows).tolist() == [False, False, True, True]
    assert len(set(pairs(shadows))) == 3
    one, other = (membership(FARM, shadow, 1200) for shadow in (TUNING_FIRST, TUNING_FIRST + 1))
    np.testing.assert_array_equal(one, ~other)


def test_coins_are_fair_and_independent_across_images_and_pairs() -> None:
    coins = np.stack([membership(FarmRef((), 0), 2 * pair, 400) for pair in range(400)])
    heads = int(coins.sum())
    assert stats.binomtest(heads, coins.size).pvalue > SIGNIFICANCE
    for axis in (0, 1):  # each image over pairs, each pair over images
        per = coins.sum(axis=axis)
        assert stats.chisquare(*binned(per, 400)).pvalue > SIGNIFICANCE
    spins = 2.0 * coins - 1
    for gram in (spins @ spins.T, spins.T @ spins):  # agreements of two pairs, of two images
        z = gram[np.triu_indices(400, 1)] / np.sqrt(400)
        assert stats.kstest(z + jitter(z.size, 2 / np.sqrt(400)), "norm").pvalue > SIGNIFICANCE


def test_no_pair_of_any_seed_repeats_the_coins_of_another() -> None:
    draws = [membership(FarmRef((), seed), 2 * pair, 64).tobytes() for seed in range(40) for pair in range(40)]
    assert len(set(draws)) == len(draws)


def binned(heads: np.ndarray, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Return observed and expected counts of a binomial number of heads in eight bins."""
    edges = stats.binom.ppf(np.arange(1, 8) / 8, trials, 0.5)
    expected = np.diff(np.concatenate([[0], stats.binom.cdf(edges, trials, 0.5), [1]])) * len(heads)
    return np.bincount(np.searchsorted(edges, heads), minlength=8), expected


def jitter(count: int, width: float) -> np.ndarray:
    """Return uniform noise as wide as a lattice: it makes a lattice variable continuous."""
    return np.random.default_rng(0).uniform(-width / 2, width / 2, count)


def test_coins_do_not_depend_on_which_images_are_audited() -> None:
    audited = np.concatenate([pool.positions for pool in draw_pools(FARM, LABELS, 10).values()])
    coins = np.stack([membership(FARM, 2 * pair, len(LABELS)) for pair in range(100)])[:, audited]
    assert stats.binomtest(int(coins.sum()), coins.size).pvalue > SIGNIFICANCE
    bare = FarmRef((), FARM.seed)
    np.testing.assert_array_equal(membership(FARM, 6, 1200), membership(bare, 6, 1200))


sizes = st.lists(st.integers(0, 100).map(lambda half: 2 * half), min_size=1, max_size=4)


@given(seed=seeds, wanted=sizes, labels=st.sampled_from(["own", "random"]))
@settings(max_examples=60, deadline=None)
def test_pools_are_disjoint_fixed_by_the_seed_and_only_canaries_are_mislabelled(
    seed: int, wanted: list[int], labels: str
) -> None:
    specs = tuple(PoolSpec(f"p{i}", size, labels) for i, size in enumerate(wanted))  # type: ignore[arg-type]
    if sum(wanted) > 600:
        with pytest.raises(PoolsTooLarge, match=f"{sum(wanted)} images; at most half of the 1200"):
            draw_pools(FarmRef(specs, seed), LABELS, 10)
        return
    pools = draw_pools(FarmRef(specs, seed), LABELS, 10)
    again = draw_pools(FarmRef(specs, seed), LABELS, 10)
    assert [pool.spec for pool in pools.values()] == list(specs)
    assert [len(pool.positions) for pool in pools.values()] == wanted
    together = np.concatenate([pool.positions for pool in pools.values()])
    assert len(np.unique(together)) == len(together)
    assert all(0 <= position < 1200 for position in together)
    for name, pool in pools.items():
        np.testing.assert_array_equal(pool.positions, again[name].positions)
        np.testing.assert_array_equal(pool.trained_labels, again[name].trained_labels)
        is_true = pool.trained_labels == LABELS[pool.positions]
        assert not is_true.any() if labels == "random" else is_true.all()
        assert ((pool.trained_labels >= 0) & (pool.trained_labels < 10)).all()


def test_pools_may_take_half_of_the_training_images_and_no_more() -> None:
    assert len(draw_pools(FarmRef((PoolSpec("p", 600),)), LABELS, 10)["p"].positions) == 600
    with pytest.raises(PoolsTooLarge):
        draw_pools(FarmRef((PoolSpec("p", 602),)), LABELS, 10)


def test_every_image_is_as_likely_as_any_other_to_be_audited() -> None:
    drawn = Counter[int]()
    for seed in range(200):
        for pool in draw_pools(FarmRef((CANARY, CLEAN), seed), LABELS, 10).values():
            drawn.update(pool.positions.tolist())
    # without replacement within a draw, hence the factor 1 - 300/1200 on the variance
    counts = np.array([drawn[image] for image in range(1200)])
    statistic = float(((counts - 50) ** 2).sum() / (50 * 0.75))
    assert SIGNIFICANCE < stats.chi2.sf(statistic, 1199) < 1 - SIGNIFICANCE


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_canary_labels_are_uniform_over_the_wrong_ones_whatever_the_true_one(classes: int) -> None:
    labels = np.arange(4000) % classes
    table = np.zeros((classes, classes), dtype=int)
    for seed in range(5):
        pool = draw_pools(FarmRef((PoolSpec("canary", 2000, "random"),), seed), labels, classes)["canary"]
        np.add.at(table, (labels[pool.positions], pool.trained_labels), 1)
    assert (np.diag(table) == 0).all()
    wrong = table[~np.eye(classes, dtype=bool)].reshape(classes, classes - 1)
    expected = np.repeat(wrong.sum(axis=1, keepdims=True), classes - 1, axis=1) / (classes - 1)
    statistic = float(((wrong - expected) ** 2 / expected).sum())
    freedom = classes * (classes - 2)
    assert freedom == 0 or stats.chi2.sf(statistic, freedom) > SIGNIFICANCE


def plan_of(folder: Path, farm: str, methods: str = "[finetune, ct]") -> Plan:
    path = folder / "study.yaml"
    path.write_text(
        "name: farm\ndatasets: [digits]\narchitectures: [cnn_small]\nscenarios: ['random:0.1']\n"
        f"methods: {methods}\nfarm: {farm}\n"
    )
    return make_plan(load_study(path))


def test_a_farm_counts_what_it_must(tmp_path: Path) -> None:
    """N shadows, R retrains for each pool, and every method but retrain on every pool of every shadow."""
    plan = plan_of(tmp_path, "{shadows: 12, retrains: 4, pools: {a: {size: 60}, b: {size: 40, labels: random}}}")
    counts = plan.counts()
    assert counts["shadow"] == 12
    assert counts["shadow_retrain"] == 2 * 4
    assert counts["shadow_unlearn"] == 3 * 2 * 12  # original, finetune, ct
    shadows = {u.id: u for u in plan.units.values() if u.kind == Kind.SHADOW}
    for found in plan.units.values():
        if found.kind == Kind.SHADOW_UNLEARN:
            (need,) = found.needs
            assert shadows[need].seed == found.seed
        if found.kind == Kind.SHADOW_RETRAIN:
            assert found.needs == ()
            assert found.seed < 4


def test_a_farm_that_grows_keeps_every_unit_it_had(tmp_path: Path) -> None:
    pools = "pools: {a: {size: 60, labels: random}}"
    small, large = (plan_of(tmp_path, f"{{shadows: {n}, {pools}}}") for n in (8, 16))
    farm_units = {identity for identity, found in small.units.items() if found.kind.of_farm}
    assert len(farm_units) == 8 * (1 + 3) + 4
    assert farm_units < set(large.units)
    for change in ("{shadows: 8, seed: 1, " + pools + "}", "{shadows: 8, pools: {a: {size: 62, labels: random}}}"):
        assert farm_units.isdisjoint(plan_of(tmp_path, change).units)


@pytest.mark.parametrize(("shadows", "retrains"), [(2, 0), (4, 2), (6, 2), (8, 4), (30, 14), (32, 16)])
def test_half_of_the_shadows_are_retrained_in_whole_pairs(tmp_path: Path, shadows: int, retrains: int) -> None:
    farm = plan_of(tmp_path, f"{{shadows: {shadows}}}").study.farm
    assert farm is not None
    assert farm.retrains == retrains


def test_tuning_shadows_come_first_get_every_method_and_are_never_retrained(tmp_path: Path) -> None:
    pools = "pools: {a: {size: 60}, b: {size: 40}}"
    plain, tuned = (plan_of(tmp_path, f"{{shadows: 4, {pools}{more}}}") for more in ("", ", tuning: 6"))
    assert set(plain.units) < set(tuned.units)
    extra = [found for identity, found in tuned.units.items() if identity not in plain.units]
    assert Counter(found.kind for found in extra) == {Kind.SHADOW: 6, Kind.SHADOW_UNLEARN: 6 * 2 * 3}
    assert {found.seed for found in extra} == set(range(TUNING_FIRST, TUNING_FIRST + 6))
    order = [bool(is_tuning(np.array(found.seed))) for found in tuned.units.values() if found.kind.of_farm]
    assert order == sorted(order, reverse=True)
    grown = plan_of(tmp_path, f"{{shadows: 8, tuning: 8, {pools}}}")
    assert set(tuned.units) < set(grown.units)


def test_a_conditional_farm_retrains_every_shadow(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{design: conditional, shadows: 6, pools: {random: {size: 100}}}")
    counts = plan.counts()
    assert (counts["shadow"], counts["shadow_retrain"], counts["shadow_unlearn"]) == (6, 6, 6 * 3)


def test_half_splits_train_each_split_once_for_all_of_its_draws(tmp_path: Path) -> None:
    few, more = (plan_of(tmp_path, f"{{design: half_splits, shadows: 4, draws: {draws}}}") for draws in (2, 3))
    counts = few.counts()
    assert (counts["shadow"], counts["shadow_retrain"], counts["shadow_unlearn"]) == (4, 4 * 2, 4 * 2 * 3)
    assert set(few.units) < set(more.units)
    farm = [found for found in few.units.values() if found.kind.of_farm]
    assert [found.seed for found in farm] == sorted(found.seed for found in farm)
    assert {found.pool for found in farm if found.kind != Kind.SHADOW} == {"draw0", "draw1"}
    published = plan_of(tmp_path, "{design: half_splits, shadows: 64}", "[finetune]").counts()
    assert (published["shadow"], published["shadow_retrain"], published["shadow_unlearn"]) == (64, 640, 2 * 640)


@pytest.mark.parametrize(
    "more", ["queries: [identity, flip]", "design: conditional", "design: conditional, queries: [identity, flip]"]
)
def test_other_designs_and_queries_are_other_units(tmp_path: Path, more: str) -> None:
    pools = "shadows: 4, pools: {a: {size: 60}}"
    plain, other = plan_of(tmp_path, f"{{{pools}}}"), plan_of(tmp_path, f"{{{pools}, {more}}}")
    shared = {plain.units[identity].kind for identity in plain.units.keys() & other.units.keys()}
    assert shared
    assert not any(kind.of_farm for kind in shared)


def test_every_unit_comes_after_what_it_needs(tmp_path: Path) -> None:
    seen: set[str] = set()
    for identity, found in plan_of(tmp_path, "{shadows: 4}").units.items():
        assert seen.issuperset(found.needs)
        seen.add(identity)
