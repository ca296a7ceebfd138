from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from harness.metrics import (
    AUDIT_METRICS,
    CHALLENGE_METRICS,
    COST_METRICS,
    DEFINITIONS,
    EFFICACY_RATIO,
    F1_METRICS,
    GAP_IN_SD,
    IMAGES_RATIO,
    IN_SD,
    LIKENESS_METRICS,
    OVER_REQUESTS,
    PROBE_METRICS,
    SEQUENCE_METRICS,
    TAMPERED_METRICS,
    TRIAL,
    RepeatedRows,
    derive,
)

# ResNet-18 on CIFAR-10, means over 10 seeds: retain, forget and test accuracy, and the mean of the retention
# deviations of the seeds, which that of the means comes near (replication:
# github.com/santimebi/deepunlearn, commit 380123a).
RETRAIN_MEANS = (0.9993, 0.8734, 0.8687)
REPLICATION = {
    "fcs": (0.9954, 0.8623, 0.8288, 0.063),
    "prmq": (0.9976, 0.8559, 0.8286, 0.068),
    "salun": (0.9712, 0.8792, 0.8365, 0.072),
    "finetune": (1.0, 0.8480, 0.8280, 0.077),
    "neg_grad_plus": (0.9638, 0.8579, 0.8426, 0.083),
    "scrub": (0.9631, 0.8527, 0.8456, 0.088),
    "cf_k": (1.0, 0.9263, 0.8437, 0.090),
    "rni": (1.0, 0.8477, 0.8153, 0.092),
    "srl": (0.9920, 0.9304, 0.8401, 0.106),
    "bad_teacher": (0.9354, 0.8721, 0.8358, 0.109),
    "cfw": (0.9965, 0.8326, 0.8051, 0.123),
    "ct": (0.9953, 0.8224, 0.8136, 0.126),
    "msg": (0.9884, 0.8239, 0.8086, 0.137),
    "kde": (0.9680, 0.8415, 0.7958, 0.156),
    "influence": (0.9417, 0.9320, 0.8354, 0.163),
    "gradient_ascent": (0.8656, 0.8519, 0.7805, 0.265),
    "fisher": (0.0991, 0.0960, 0.1000, 2.68),
}


def value(rows: pl.DataFrame, metric: str, method: str, **key: Any) -> float | None:
    return rows.filter(metric=metric, method=method, **key)["value"].item()  # type: ignore[no-any-return]


def flag(rows: pl.DataFrame, metric: str, method: str, **key: Any) -> str | None:
    return rows.filter(metric=metric, method=method, **key)["flag"].item()  # type: ignore[no-any-return]


def parts(retain: float, forget: float, test: float) -> dict[str, float]:
    return {"retain": retain, "forget": forget, "test": test}


def test_retention_deviation_of_a_published_row(tables: Any) -> None:
    """GRIN+ on the metric suite of Cadet et al. prints 22.81 for these accuracies in percent."""
    tables.trial("retrain", parts(0.5969, 0.5613, 0.3390))
    tables.trial("finetune", parts(0.5535, 0.5644, 0.3898))
    assert value(derive(*tables.frames()), "retention_deviation", "finetune") == pytest.approx(0.2281, abs=5e-5)


def test_retention_deviation_of_a_replication(tables: Any) -> None:
    tables.trial("retrain", parts(*RETRAIN_MEANS))
    for method, (*accuracy, _) in REPLICATION.items():
        tables.trial(method, parts(*accuracy))
    rows = derive(*tables.frames())
    for method, (*_, printed) in REPLICATION.items():
        assert value(rows, "retention_deviation", method) == pytest.approx(printed, abs=0.0065), method


def test_the_gap_is_defined_where_retrain_knows_nothing_of_a_forgotten_class(tables: Any) -> None:
    tables.trial("retrain", parts(0.98, 0.0, 0.90))
    tables.trial("ct", parts(0.95, 0.30, 0.93))
    rows = derive(*tables.frames())
    assert value(rows, "retention_deviation", "ct") is None
    assert value(rows, "gap_to_retrain", "ct") == pytest.approx((0.03 + 0.30 + 0.03) / 3)
    assert value(rows, "gap_to_retrain", "retrain") == 0


@pytest.mark.parametrize(
    ("mia", "indiscernibility"), [(0, 0), (0.25, 0.5), (0.4, 0.8), (0.5, 1), (0.55, 0.9), (0.6, 0.8), (1, 0)]
)
def test_indiscernibility_of_published_values(tables: Any, mia: float, indiscernibility: float) -> None:
    tables.trial("finetune", mia=mia)
    rows = derive(*tables.frames())
    assert value(rows, "indiscernibility_val", "finetune") == pytest.approx(indiscernibility)
    assert value(rows, "indiscernibility_test", "finetune") == pytest.approx(indiscernibility)


accuracies = st.tuples(*[st.floats(0.05, 1)] * 3)


@settings(max_examples=30, deadline=None)
@given(
    retrain=st.lists(accuracies, min_size=4, max_size=4),
    unlearned=st.lists(accuracies, min_size=4, max_size=4),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_trial_is_compared_with_the_retrain_of_its_own_cell_and_seed(
    new_tables: Callable[[], Any], retrain: list[Any], unlearned: list[Any], shuffle: Any
) -> None:
    tables = new_tables()
    places = [(scenario, seed) for scenario in ("random:0.1", "random:0.2") for seed in (0, 1)]
    for (scenario, seed), reference, own in zip(places, retrain, unlearned, strict=True):
        tables.trial("retrain", parts(*reference), scenario=scenario, seed=seed)
        tables.trial("ct", parts(*own), scenario=scenario, seed=seed)
    shuffle.shuffle(tables.unit_rows)
    shuffle.shuffle(tables.metric_rows)
    rows = derive(*tables.frames())
    for (scenario, seed), reference, own in zip(places, retrain, unlearned, strict=True):
        expected = sum(abs(mine / its - 1) for mine, its in zip(own, reference, strict=True))
        key = {"scenario": scenario, "seed": seed}
        assert math.isclose(value(rows, "retention_deviation", "ct", **key) or 0, expected, abs_tol=1e-12)
        assert value(rows, "retention_deviation", "retrain", **key) == 0
        assert value(rows, "test_retention", "ct", **key) == pytest.approx(own[2] / reference[2])


@pytest.fixture
def mixed(tables: Any) -> Any:
    """Two seeds with everything that can go wrong in some trial."""
    for seed in (0, 1):
        tables.trial("retrain", seed=seed, status="done" if seed == 0 else "diverged")
        tables.trial("original", seed=seed)
        tables.trial("ct", seed=seed)
        tables.trial("msg", seed=seed, mia=None)
    tables.add("unlearn", "finetune", status="failed")
    tables.add("unlearn", "finetune", {("accuracy", "test"): 0.3}, status="diverged", seed=1)
    tables.add("unlearn", "scrub", {("accuracy", "test"): float("nan")}, seed=0)
    tables.add("original", "original", {("accuracy", "train"): 1.0})
    tables.add("shadow", "original", {("accuracy", "test"): 1.0})
    tables.timing("retrain", 100.0)
    tables.timing("ct", 4.0)
    return tables


def test_every_trial_has_every_metric_once_and_a_reason_for_each_missing_value(mixed: Any) -> None:
    rows = derive(*mixed.frames())
    trials, metrics = rows.select(TRIAL).unique(), rows["metric"].unique()
    assert trials.height == 11
    assert rows.height == trials.height * len(metrics)
    assert not rows.select(*TRIAL, "metric").is_duplicated().any()
    assert (rows["value"].is_null() == rows["flag"].is_not_null()).all()
    assert rows["value"].drop_nulls().is_finite().all()


OF_CLASSES = ("_test_retain", "_test_forget")


def test_every_metric_is_defined_and_every_defined_one_occurs(mixed: Any) -> None:
    elsewhere = {"accuracy_train", "loss_train", "changed_weights", "overall", GAP_IN_SD, IN_SD}
    elsewhere |= {*AUDIT_METRICS, *CHALLENGE_METRICS}
    elsewhere |= {metric for metric in DEFINITIONS if metric.startswith("mia_") or metric.endswith(OF_CLASSES)}
    elsewhere |= {"entanglement", *LIKENESS_METRICS, *TAMPERED_METRICS, *SEQUENCE_METRICS, *OVER_REQUESTS}
    elsewhere |= {*PROBE_METRICS, EFFICACY_RATIO, *COST_METRICS, IMAGES_RATIO, *F1_METRICS}
    assert set(derive(*mixed.frames())["metric"]) == set(DEFINITIONS) - elsewhere


@pytest.mark.parametrize(
    ("metric", "method", "seed", "reason"),
    [
        ("accuracy_test", "finetune", 0, "trial failed"),
        ("accuracy_test", "finetune", 1, "trial diverged"),
        ("retention_deviation", "finetune", 1, "trial diverged"),
        ("accuracy_test", "scrub", 0, "not finite"),
        ("retention_deviation", "scrub", 0, "not measured"),
        ("loss_retain", "scrub", 0, "not measured"),
        ("population_mia_val", "msg", 0, "not computable"),
        ("indiscernibility_val", "msg", 0, "not computable"),
        ("retention_deviation", "ct", 1, "retrain: trial diverged"),
        ("retention_deviation", "retrain", 1, "trial diverged"),
        ("run_time_efficiency", "msg", 0, "not timed"),
        ("run_time_efficiency", "ct", 1, "not timed"),
        ("run_time_efficiency", "original", 0, "takes no time"),
        ("time_ratio", "original", 1, "retrain: trial diverged"),
    ],
)
def test_reasons(mixed: Any, metric: str, method: str, seed: int, reason: str) -> None:
    assert flag(derive(*mixed.frames()), metric, method, seed=seed) == reason


def test_a_missing_retrain_leaves_what_needs_none(tables: Any) -> None:
    tables.trial("retrain", seed=1)
    tables.trial("ct", seed=0)
    rows = derive(*tables.frames())
    assert flag(rows, "test_retention", "ct") == flag(rows, "retention_deviation", "ct") == "no retrain of this seed"
    assert value(rows, "accuracy_test", "ct") == 0.6
    assert value(rows, "indiscernibility_val", "ct") == 1


def test_a_retrain_that_knows_nothing_of_a_forgotten_class_has_no_retention(tables: Any) -> None:
    for method in ("retrain", "ct"):
        tables.trial(method, {"forget": 0.0}, scenario="class:3")
    rows = derive(*tables.frames())
    for metric in ("forget_retention", "retention_deviation"):
        assert flag(rows, metric, "ct") == "retrain's accuracy_forget is 0"
    assert value(rows, "retain_retention", "ct") == 1


def test_run_time_comes_from_timing_units_of_the_same_cell_config_and_seed(tables: Any) -> None:
    for seed, (retraining, unlearning) in enumerate([(100.0, 4.0), (60.0, 6.0)]):
        for method in ("retrain", "original", "ct"):
            tables.trial(method, seed=seed)
        tables.add("unlearn", "msg", {("seconds", "all"): 1.0}, seed=seed)
        tables.timing("retrain", retraining, seed=seed)
        tables.timing("ct", unlearning, seed=seed)
    tables.trial("ct", config="lr=0.1")
    tables.timing("ct", 50.0, config="lr=0.1")
    rows = derive(*tables.frames())
    default = {"config": "default"}
    assert [value(rows, "run_time_efficiency", "ct", seed=seed, **default) for seed in (0, 1)] == [25, 10]
    assert [value(rows, "time_ratio", "ct", seed=seed, **default) for seed in (0, 1)] == [0.04, 0.1]
    assert value(rows, "time_ratio", "ct", config="lr=0.1") == 0.5
    assert value(rows, "run_time_efficiency", "retrain", seed=1) == 1
    assert value(rows, "time_ratio", "original", seed=1) == 0
    assert flag(rows, "seconds", "msg", seed=0) == "not timed"


def test_times_on_different_devices_are_not_compared(tables: Any) -> None:
    for method, device in (("retrain", "cuda:NVIDIA H200"), ("ct", "cpu"), ("msg", "cuda:NVIDIA H200")):
        tables.trial(method)
        tables.timing(method, 2.0, device=device)
    rows = derive(*tables.frames())
    assert flag(rows, "run_time_efficiency", "ct") == "retrain was timed on cuda:NVIDIA H200"
    assert value(rows, "seconds", "ct") == 2
    assert value(rows, "run_time_efficiency", "msg") == 1


def test_a_failed_timing_is_not_a_time(tables: Any) -> None:
    tables.trial("retrain")
    tables.trial("ct")
    tables.timing("retrain", 3.0)
    tables.timing("ct", None, status="failed")
    assert flag(derive(*tables.frames()), "time_ratio", "ct") == "timing failed"


def test_metrics_defined_later_pass_through_under_their_own_names(tables: Any) -> None:
    tables.add("unlearn", "ct", {("churn", "test"): 0.2, ("distance", "all"): 3.0})
    rows = derive(*tables.frames())
    assert (value(rows, "churn_test", "ct"), value(rows, "distance", "ct")) == (0.2, 3.0)


@pytest.mark.parametrize("method", ["retrain", "ct"])
def test_two_units_for_one_trial_are_refused(tables: Any, method: str) -> None:
    tables.trial(method)
    tables.trial(method)
    with pytest.raises(RepeatedRows, match=f"dataset digits.*method {method}.*one study"):
        derive(*tables.frames())


def test_two_retrains_for_one_seed_are_refused(tables: Any) -> None:
    tables.trial("retrain")
    tables.trial("retrain", config="epochs=3")
    with pytest.raises(RepeatedRows, match="seed 0"):
        derive(*tables.frames())


def test_a_value_stored_twice_is_refused(tables: Any) -> None:
    tables.trial("ct")
    tables.metric_rows.append(tables.metric_rows[-1])
    with pytest.raises(RepeatedRows, match="population_mia_test"):
        derive(*tables.frames())


def test_no_units_give_no_rows_in_the_same_columns(tables: Any, new_tables: Callable[[], Any]) -> None:
    tables.trial("ct")
    empty = derive(*new_tables().frames())
    assert empty.height == 0
    assert empty.schema == derive(*tables.frames()).schema


def test_tables_read_from_files_give_the_same(mixed: Any, tmp_path: Path) -> None:
    units, metrics = mixed.frames()
    units.write_parquet(tmp_path / "units.parquet")
    metrics.write_parquet(tmp_path / "metrics.parquet")
    read = derive(pl.read_parquet(tmp_path / "units.parquet"), pl.read_parquet(tmp_path / "metrics.parquet"))
    assert_frame_equal(read, derive(units, metrics))
