"""The gap to retrain in units of retrain's own spread."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from harness.metrics import GAP_IN_SD, IN_SD, definition, derive, gap_in_retrain_sd, in_retrain_sd


def gap(tables: Any, method: str = "ct", **key: Any) -> tuple[float | None, str | None]:
    rows = gap_in_retrain_sd(derive(*tables.frames())).filter(method=method, **key)
    assert rows["metric"].to_list() == [GAP_IN_SD]
    return rows["value"].item(), rows["flag"].item()


def accuracy(retain: float, forget: float, test: float) -> dict[str, float]:
    return {"retain": retain, "forget": forget, "test": test}


@pytest.fixture
def study(tables: Any) -> Any:
    """Retrain: means 0.90, 0.80, 0.70 and standard deviations 0.01, 0.02, 0.05 over three seeds."""
    for seed, step in enumerate((-1, 0, 1)):
        tables.trial("retrain", accuracy(0.90 + 0.01 * step, 0.80 + 0.02 * step, 0.70 + 0.05 * step), seed=seed)
    return tables


def test_by_hand(study: Any) -> None:
    for seed, step in enumerate((-1, 1)):  # the mean over seeds counts: 0.88, 0.80, 0.75
        study.trial("ct", accuracy(0.88 + 0.3 * step / 10, 0.80 + 0.2 * step, 0.75), seed=seed)
    value, flag = gap(study)
    assert value == pytest.approx((2 + 0 + 1) / 3)
    assert flag is None
    assert gap(study, "retrain") == (pytest.approx(0, abs=1e-12), None)


def test_retrain_with_one_seed_or_without_spread_gives_none_and_says_so(study: Any) -> None:
    study.trial("ct")
    study.trial("retrain", scenario="class:3")
    study.trial("ct", scenario="class:3")
    for seed in (0, 1):
        study.trial("retrain", accuracy(0.9 + seed / 100, 0.0, 0.7 + seed / 100), seed=seed, scenario="class:4")
        study.trial("ct", seed=seed, scenario="class:4")
    study.trial("ct", scenario="class:5")
    assert gap(study, scenario="random:0.1")[1] is None
    assert gap(study, scenario="class:3") == (None, "retrain has one seed")
    assert gap(study, scenario="class:4") == (None, "retrain's accuracy_forget has no spread")
    assert gap(study, scenario="class:5") == (None, "no usable retrain")


def test_failed_trials_do_not_count_and_a_method_without_a_trial_has_none(study: Any) -> None:
    study.trial("ct", accuracy(0.91, 0.82, 0.75), seed=0)
    study.add("unlearn", "ct", seed=1, status="failed")
    study.add("unlearn", "msg", seed=0, status="diverged")
    assert gap(study)[0] == pytest.approx(1)
    assert gap(study, "msg") == (None, "trial diverged")


def test_each_cell_has_its_own_retrain(study: Any) -> None:
    for seed, step in enumerate((-1, 1)):
        wide = 0.1 * step
        study.trial("retrain", accuracy(0.5 + wide, 0.5 + wide, 0.5 + wide), seed=seed, architecture="other")
    study.trial("ct", accuracy(0.6, 0.6, 0.6), architecture="other")
    study.trial("ct", accuracy(0.90, 0.80, 0.70))
    assert gap(study, architecture="other")[0] == pytest.approx(0.1 / 0.02**0.5)
    assert gap(study, architecture="cnn_small")[0] == pytest.approx(0, abs=1e-12)


def test_it_is_defined_and_no_metric_of_a_trial(study: Any) -> None:
    assert definition(GAP_IN_SD).direction == "lower"
    rows = derive(*study.frames())
    assert GAP_IN_SD not in rows["metric"]
    assert gap_in_retrain_sd(rows.clear()).is_empty()
    assert gap_in_retrain_sd(rows.filter(pl.col("seed") > 5)).is_empty()


def test_every_metric_has_its_distance_with_a_sign(study: Any) -> None:
    for seed, step in enumerate((-1, 1)):
        study.trial("ct", accuracy(0.88 + 0.3 * step / 10, 0.80 + 0.2 * step, 0.75), seed=seed)
    rows = in_retrain_sd(derive(*study.frames()))
    found = {row["metric"]: row for row in rows.filter(method="ct").iter_rows(named=True)}
    wanted = {"accuracy_retain": -2, "accuracy_forget": 0, "accuracy_test": 1}
    for metric, value in wanted.items():
        assert found[metric]["value"] == pytest.approx(value, abs=1e-9)
        assert found[metric]["low"] < value < found[metric]["high"]
    assert found["retain_retention"]["flag"] == "retrain's retain_retention has no spread"
    assert set(found) == set(derive(*study.frames())["metric"])


def test_retrain_is_the_origin_without_limits(study: Any) -> None:
    rows = in_retrain_sd(derive(*study.frames())).filter(pl.col("method") == "retrain", pl.col("value").is_not_null())
    assert rows["value"].abs().max() == pytest.approx(0, abs=1e-9)
    assert rows["low"].null_count() == rows["high"].null_count() == rows.height > 0
    assert definition(IN_SD).reference_value == 0
