from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from harness.metrics import TRIAL, UnknownMetric
from harness.ranking import SCHEMA, InvalidRanking, interval, rank, resample
from harness.ranking.standing import standing, tie_groups

Frame = Callable[..., pl.DataFrame]
METRIC = "retention_deviation"
ONE = {"metrics": (METRIC,), "also": (), "study": "digits"}
NAN = float("nan")


def noise(cells: int, seeds: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(cells, seeds))


def row(table: pl.DataFrame, method: str, metric: str = METRIC, group: str = "overall") -> dict[str, Any]:
    return table.filter(method=method, metric=metric, group=group).row(0, named=True)


def column(table: pl.DataFrame, name: str, metric: str = METRIC, group: str = "overall") -> dict[str, Any]:
    rows = table.filter(metric=metric, group=group)
    return dict(zip(rows["method"], rows[name], strict=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    names=st.permutations(["a", "b", "c", "d", "e"]),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_neither_names_nor_the_order_of_rows_matter(frame: Frame, seed: int, names: list[str], missing: float) -> None:
    rng = np.random.default_rng(seed)
    tables = np.round(rng.normal(size=(5, 3, 4)) + rng.normal(size=(3, 4)), 1)
    tables[rng.random(tables.shape) < missing] = NAN
    plain = rank(frame(dict(zip("abcde", tables, strict=True))), draws=200, failed="majority", **ONE)
    renamed = frame(dict(zip(names, tables, strict=True))).sample(fraction=1, shuffle=True, seed=seed)
    back = dict(zip(names, "abcde", strict=True))
    other = rank(renamed, draws=200, failed="majority", **ONE).with_columns(pl.col("method").replace(back))
    key = ("group", "metric", "method")
    assert_frame_equal(plain.sort(key), other.sort(key), abs_tol=1e-10)


def test_a_method_that_is_better_in_every_cell_and_seed_is_first_beyond_doubt(frame: Frame) -> None:
    base = noise(4, 5)
    table = rank(frame({"good": base - 0.01, "bad": base, "worse": base + 0.01}), **ONE)
    for metric in (METRIC, "overall"):
        for place, method in enumerate(("good", "bad", "worse"), start=1):
            one = row(table, method, metric)
            assert [one["rank"], one["rank_low"], one["rank_high"], one["tie_group"]] == [place] * 4


def test_identical_methods_tie_in_everything(frame: Frame) -> None:
    base = noise(3, 4)
    table = rank(frame({"a": base, "b": base, "c": base + 9}), **ONE)
    for metric in (METRIC, "overall"):
        first, second = (row(table, method, metric) | {"method": ""} for method in "ab")
        assert first == second
        assert (first["rank"], first["rank_low"], first["rank_high"], first["tie_group"]) == (
            1.5,
            1.5,
            1.5,
            1,
        )


def test_shared_noise_does_not_hide_a_steady_difference(frame: Frame) -> None:
    """Intervals overlap almost entirely, differences never change sign: unpaired draws would tie them."""
    shared = noise(1, 10)
    table = rank(frame({"a": shared, "b": shared + 0.1 + 0.01 * noise(1, 10, seed=1)}), **ONE)
    assert row(table, "a")["high"] > row(table, "b")["value"]
    assert column(table, "tie_group") == {"a": 1, "b": 2}


def literal_tie_groups(losses: Any, grid: Any, methods: list[int]) -> dict[int, int]:
    """Groups from the best downwards, each difference bootstrapped by itself over what both have."""
    resampled = resample(grid, draws=300, seed=0)
    scores = {
        m: np.nanmean([np.nanmean(seeds) for seeds in losses[..., m] if not np.isnan(seeds).all()]) for m in methods
    }
    groups: dict[int, int] = {}
    group = 0
    while left := sorted((m for m in methods if m not in groups), key=lambda m: scores[m]):
        group += 1
        best = [method for method in left if scores[method] == scores[left[0]]]
        for leader, other in itertools.product(best, left):
            difference = losses[..., [other]] - losses[..., [leader]]
            low, high = (end.item() for end in interval(resampled.means(difference)))
            alone = (~np.isnan(difference)).sum(axis=1).max() < 2
            if alone or low <= 0 <= high:
                groups[other] = group
    return groups


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_tie_groups_are_what_they_say(missing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(3, 5, 8)) + rng.normal(size=(3, 5, 1)) + np.arange(8) * 0.9
    losses[rng.random(losses.shape) < missing] = NAN
    grid = np.ones((3, 5), bool)
    groups = tie_groups(standing(losses, resample(grid, draws=300, seed=0)))
    assert dict(enumerate(groups)) == literal_tie_groups(losses, grid, list(range(8)))
    assert len(set(groups)) > 1


def test_a_noisy_method_stays_with_the_best_when_a_steadier_better_one_does_not(frame: Frame) -> None:
    best = noise(1, 12) * 0.01
    noisy = 3 * noise(1, 12, seed=1)
    table = rank(frame({"best": best, "steady": best + 0.2, "noisy": noisy - noisy.mean() + 0.5}), **ONE)
    assert column(table, "rank") == {"best": 1, "steady": 2, "noisy": 3}
    assert column(table, "tie_group") == {"best": 1, "steady": 2, "noisy": 1}


def test_methods_that_share_one_seed_cannot_be_told_apart(frame: Frame) -> None:
    tables = {"a": [0.1, 0.1, 0.1, NAN, NAN], "b": [NAN, NAN, 0.9, 0.9, 0.9], "c": [0.5] * 5}
    table = rank(frame(tables), failed="majority", **ONE)
    assert column(table, "tie_group") == {"a": 1, "b": 1, "c": 2}


def test_several_best_methods_open_a_group_together(frame: Frame) -> None:
    """Whoever cannot be told from one of them is in it, whatever the order of their names."""
    wide = [0.0, 2.0] * 6
    for names in (("a", "b", "c"), ("b", "a", "c"), ("c", "a", "b")):
        table = rank(frame(dict(zip(names, ([1.0] * 12, wide, [1.4] * 12), strict=True))), **ONE)
        assert [row(table, name)["rank"] for name in names] == [1.5, 1.5, 3]
        assert set(column(table, "tie_group").values()) == {1}


def test_one_seed_has_a_rank_but_no_interval(frame: Frame) -> None:
    one_cell = rank(frame({"a": [0.1], "b": [0.2]}), **ONE)
    cells = rank(frame({"a": noise(3, 1), "b": noise(3, 1) + 1}), **ONE)
    for table in (one_cell, cells):
        assert column(table, "rank") == {"a": 1, "b": 2}
        assert (
            table.select("low", "high", "rank_low", "rank_high", "tie_group").null_count().row(0) == (table.height,) * 5
        )
        assert table["value"].null_count() == 0


def test_one_seed_that_is_left_has_no_interval_either(frame: Frame) -> None:
    table = rank(frame({"a": [0.1, 0.2, 0.3], "b": [0.2, NAN, NAN]}), failed="any", **ONE)
    lone = row(table, "b")
    assert (lone["value"], lone["low"], lone["coverage"]) == (0.2, None, pytest.approx(1 / 3))


def test_a_group_says_how_much_was_resampled(frame: Frame) -> None:
    cells = [
        ("digits", "random:0.1", "cnn"),
        ("digits", "random:0.2", "cnn"),
        ("fashion", "random:0.1", "cnn"),
    ]
    table = rank(frame({"a": noise(3, 4), "b": noise(3, 4)}, cells=cells), draws=100, **ONE)
    sizes = {name: set(rows.select("cells", "seeds").rows()) for (name,), rows in table.group_by("group")}
    assert sizes == {"overall": {(3, 4)}, "dataset=digits": {(2, 4)}, "dataset=fashion": {(1, 4)}}


def test_each_group_is_ranked_as_if_it_were_alone(frame: Frame) -> None:
    cells = [(data, "random:0.1", net) for data in ("digits", "fashion") for net in ("cnn", "vit")]
    values = frame({"a": noise(4, 3), "b": noise(4, 3, seed=1), "retrain": np.zeros((4, 3))}, cells=cells)
    table = rank(values, draws=300, **ONE)
    assert set(table["group"]) == {"overall"} | {
        f"{name}={label}" for name in ("dataset", "architecture") for label in values[name].unique()
    }
    for name, label in (("dataset", "fashion"), ("architecture", "vit")):
        alone = rank(values.filter(pl.col(name) == label), draws=300, **ONE).filter(group="overall")
        assert_frame_equal(table.filter(group=f"{name}={label}").drop("group"), alone.drop("group"))


def test_references_are_valued_and_never_ranked(frame: Frame) -> None:
    base = noise(2, 4)
    methods = {"a": base, "b": base + 1}
    references = {"retrain": base * 0, "original": base - 5}
    table = rank(frame(methods | references), draws=300, **ONE)
    for method in references:
        one = row(table, method)
        assert (one["status"], one["rank"], one["rank_low"], one["tie_group"]) == (
            "reference",
            None,
            None,
            None,
        )
    assert row(table, "retrain")["value"] == row(table, "retrain")["low"] == row(table, "retrain")["high"] == 0
    alone = rank(frame(methods), draws=300, **ONE)
    assert_frame_equal(table.filter(pl.col("status") == "ranked"), alone)


def test_references_run_more_often_do_not_lower_the_coverage_of_methods(frame: Frame) -> None:
    table = rank(frame({"a": noise(2, 3), "retrain": np.zeros((4, 9))}), draws=100, **ONE)
    assert row(table, "a")["coverage"] == row(table, "retrain")["coverage"] == 1
    assert (row(table, "a")["cells"], row(table, "a")["seeds"]) == (2, 3)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("any", ["ranked", "failed", "failed", "failed"]),
        ("majority", ["ranked", "ranked", "ranked", "failed"]),
    ],
)
def test_failed_methods_have_no_rank_and_do_not_disturb_the_others(
    frame: Frame, rule: Any, expected: list[str]
) -> None:
    good, half = [0.5, 0.6, 0.7, 0.8], [0.9, NAN, NAN, 0.9]
    values = frame({"good": good, "once": [0.1, NAN, 0.1, 0.1], "mostly": [0.1, NAN, NAN, NAN], "half": half})
    table = rank(values, failed=rule, draws=300, **ONE)
    methods = ("good", "once", "half", "mostly")
    assert [row(table, method)["status"] for method in methods] == expected
    for method, status in zip(methods, expected, strict=True):
        assert (row(table, method)["rank"] is None) == (status == "failed")
    assert row(table, "good")["rank"] == (1 if rule == "any" else 2)
    assert column(table, "coverage") == {"good": 1, "once": 0.75, "half": 0.5, "mostly": 0.25}
    assert row(table, "once")["value"] == pytest.approx(0.1)


def test_a_trial_judged_unusable_counts_as_failed_whatever_its_value(frame: Frame) -> None:
    values = frame({"a": [0.1, 0.2], "b": [0.3, 0.4]})
    usable = values.select(*TRIAL, usable=~((pl.col("method") == "a") & (pl.col("seed") == 1)))
    table = rank(values, usable=usable, draws=100, **ONE)
    assert column(table, "status") == {"a": "failed", "b": "ranked"}
    assert row(table, "a")["value"] == pytest.approx(0.1)


def test_a_method_failed_in_one_cell_is_ranked_where_it_did_not(frame: Frame) -> None:
    cells = [("digits", "random:0.1", "cnn"), ("fashion", "random:0.1", "cnn")]
    table = rank(frame({"a": [[1, 2], [1, NAN]], "b": [[2, 3], [2, 3]]}, cells=cells), draws=100, **ONE)
    statuses = {group: column(table, "status", group=group)["a"] for group in table["group"].unique()}
    assert statuses == {"overall": "failed", "dataset=digits": "ranked", "dataset=fashion": "failed"}


def test_a_usable_method_without_a_value_is_missing_not_failed(frame: Frame) -> None:
    values = frame({"a": [1, 2], "b": [2, 3]})
    unknown = (pl.col("method") == "b").and_(pl.col("status") == "done")
    values = values.with_columns(value=pl.when(~unknown).then("value"))
    table = rank(values, draws=100, **ONE)
    for metric in (METRIC, "overall"):
        one = row(table, "b", metric)
        assert (one["status"], one["rank"], one["value"], one["coverage"]) == ("missing", None, None, 0)
        assert row(table, "a", metric)["rank"] == 1


def test_the_direction_comes_from_the_definition(frame: Frame) -> None:
    tables = {"a": noise(2, 4), "b": noise(2, 4, seed=1) + 0.3, "c": noise(2, 4, seed=2) - 0.3}
    lower = rank(frame(tables), draws=300, **ONE)
    negated = {method: -values for method, values in tables.items()}
    options = ONE | {"metrics": ("indiscernibility_val",)}
    higher = rank(frame(negated, metric="indiscernibility_val"), draws=300, **options)
    for name in ("rank", "rank_low", "rank_high", "tie_group"):
        assert column(lower, name) == column(higher, name, metric="indiscernibility_val")
    one, other = row(lower, "a"), row(higher, "a", metric="indiscernibility_val")
    assert (one["low"], one["high"]) == (-other["high"], -other["low"])


def test_closest_ranks_by_the_distance_from_a_fixed_reference(frame: Frame) -> None:
    """A method that errs to both sides in turn is right on average and far off each time."""
    values = frame({"swings": [0.3, 0.7, 0.3, 0.7], "near": [0.55, 0.55, 0.55, 0.56]}, metric="population_mia_val")
    table = rank(values, **(ONE | {"metrics": ("population_mia_val",)}))
    assert column(table, "rank", metric="population_mia_val") == {"near": 1, "swings": 2}
    assert row(table, "swings", metric="population_mia_val")["value"] == 0.5


def test_closest_without_a_number_ranks_by_the_distance_from_the_retrain_of_the_seed(frame: Frame) -> None:
    tables = {"retrain": [0.9, 0.5], "follows": [0.89, 0.52], "opposes": [0.5, 0.9], "above": [1.0, 1.0]}
    options = ONE | {"metrics": ("accuracy_test",)}
    table = rank(frame(tables, metric="accuracy_test"), draws=100, **options)
    ranks = column(table, "rank", metric="accuracy_test")
    assert ranks == {"follows": 1, "above": 2, "opposes": 3, "retrain": None}


@pytest.fixture
def three(frame: Frame) -> pl.DataFrame:
    deviation = {"a": noise(3, 4), "b": noise(3, 4, seed=1) + 1, "c": noise(3, 4, seed=2) + 2}
    indiscernibility = {"a": noise(3, 4) + 1, "b": noise(3, 4, seed=3), "c": noise(3, 4, seed=4) + 2}
    efficiency = {"a": noise(3, 4), "b": noise(3, 4) + 50, "c": noise(3, 4) + 10}
    return pl.concat(
        [
            frame(deviation),
            frame(indiscernibility, metric="indiscernibility_val"),
            frame(efficiency, metric="run_time_efficiency"),
        ]
    )


def test_overall_is_the_mean_of_the_ranks_and_leaves_time_out(three: pl.DataFrame) -> None:
    table = rank(three, study="digits", draws=300)
    means = {
        method: (column(table, "rank")[method] + column(table, "rank", "indiscernibility_val")[method]) / 2
        for method in "abc"
    }
    assert column(table, "value", "overall") == means == {"a": 1.5, "b": 2.5, "c": 2.0}
    assert column(table, "rank", "overall") == {"a": 1, "c": 2, "b": 3}
    assert column(table, "rank", "run_time_efficiency") == {"b": 1, "c": 2, "a": 3}


def test_time_counts_when_asked(three: pl.DataFrame) -> None:
    metrics = (METRIC, "indiscernibility_val", "run_time_efficiency")
    table = rank(three, study="digits", metrics=metrics, draws=300)
    assert column(table, "value", "overall") == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert set(column(table, "rank", "overall").values()) == {2.0}


def test_overall_is_resampled_with_the_same_draws_for_all_metrics(frame: Frame) -> None:
    """Two methods whose ranks on two metrics are always opposite have the mean rank 1.5 in every draw."""
    a, b = noise(2, 5), noise(2, 5, seed=1)
    values = pl.concat([frame({"a": a, "b": b}), frame({"a": a, "b": b}, metric="indiscernibility_val")])
    table = rank(values, study="digits", also=())
    assert column(table, "rank_high") == {"a": 2, "b": 2}
    for method in "ab":
        one = row(table, method, "overall")
        assert (one["low"], one["value"], one["high"], one["rank"], one["tie_group"]) == (
            1.5,
            1.5,
            1.5,
            1.5,
            1,
        )


def test_searched_configs_are_one_competitor_and_given_ones_are_many(frame: Frame) -> None:
    cells = [[("digits", "random:0.1", "cnn")], [("fashion", "random:0.1", "cnn")]]
    searched = [
        frame({"ct": noise(1, 3)}, cells=cell, config=f"search:{identity}")
        for cell, identity in zip(cells, ("0f", "1e"), strict=True)
    ]
    given_values = [frame({"ct": noise(1, 3)}, cells=cells[0], config=f"lr={lr}") for lr in (0.1, 0.2)]
    table = rank(pl.concat([*searched, *given_values]), draws=100, **ONE).filter(group="overall", metric=METRIC)
    coverage = dict(zip(table["config"], table["coverage"], strict=True))
    assert coverage == {"search": 1, "lr=0.1": 0.5, "lr=0.2": 0.5}


def test_the_table_has_its_columns_whatever_there_is_to_rank(frame: Frame) -> None:
    values = frame({"a": noise(2, 3), "retrain": noise(2, 3)})
    failed = frame({"a": np.full((1, 2), NAN)})
    for part in (values, failed, values.filter(method="retrain"), values.clear()):
        table = rank(part, draws=50, **ONE)
        assert table.schema == SCHEMA
        assert set(table["study"]) <= {"digits"}


def test_a_ranking_survives_a_file(frame: Frame, tmp_path: Path) -> None:
    table = rank(frame({"a": noise(2, 3), "b": noise(2, 3, seed=1)}), draws=50, **ONE)
    table.write_parquet(tmp_path / "rankings.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "rankings.parquet"), table)


def test_a_published_order_is_found_again(frame: Frame) -> None:
    """Replication on ResNet-18 and CIFAR-10 (github.com/santimebi/deepunlearn): MSG is 13th, CT 12th."""
    deviations = {
        "ct": 0.126, "fcs": 0.063, "finetune": 0.077, "gradient_ascent": 0.265, "influence": 0.163,
        "kde": 0.156, "msg": 0.137, "cfw": 0.123, "neg_grad_plus": 0.083, "prmq": 0.068, "rni": 0.092,
        "salun": 0.072, "scrub": 0.088, "srl": 0.106, "bad_teacher": 0.109, "cf_k": 0.090, "fisher": NAN,
    }  # fmt: skip
    table = rank(frame({method: [value] for method, value in deviations.items()}), **ONE)
    ranks = column(table, "rank")
    assert [ranks[method] for method in ("fcs", "ct", "msg", "gradient_ascent", "fisher")] == [
        1,
        12,
        13,
        16,
        None,
    ]
    assert row(table, "fisher")["status"] == "failed"


def test_questions_that_cannot_be_answered_say_why(frame: Frame) -> None:
    values = frame({"a": [1, 2]})
    with pytest.raises(UnknownMetric, match="did you mean 'retention_deviation'"):
        rank(values, study="digits", metrics=("retention_deviaton",))
    with pytest.raises(InvalidRanking, match="no metric"):
        rank(values, study="digits", metrics=())
    with pytest.raises(InvalidRanking, match=r"'most'.*any, majority"):
        rank(values, study="digits", failed="most")  # type: ignore[arg-type]
    with pytest.raises(InvalidRanking, match=r"several values.*data0 random:0.1 cnn_small a default 0"):
        rank(pl.concat([values, values]), **ONE)
    with pytest.raises(InvalidRanking, match=r"whether trial data0 .* a default 1 is usable is not given"):
        rank(values, usable=values.filter(seed=0).select(*TRIAL, usable=True), **ONE)
