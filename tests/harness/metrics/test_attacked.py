"""What three attackers reach, by trial, and the gap between the losses beside it, on frames made by hand."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from harness.metrics import TRIO_ACCURACIES, TRIO_METRICS, definition, derive, usable
from harness.ranking import rank_study

STORED = {(name.removesuffix("_test"), "test"): 0.5 + place / 100 for place, name in enumerate(TRIO_METRICS)}


def flags(rows: pl.DataFrame, method: str) -> set[str | None]:
    return set(rows.filter(pl.col("metric").is_in(TRIO_METRICS), method=method)["flag"])


def test_each_trial_gets_the_numbers_of_its_own_attack_or_the_reason_why_not(tables: Any) -> None:
    for method in ("retrain", "original", "ct", "msg", "finetune", "scrub", "cfw"):
        tables.trial(method)
    tables.trial("ct", config="lr=0.1")
    tables.trial("kde", status="diverged")
    for method in ("retrain", "original", "ct"):
        tables.add("attack", method, STORED)
    tables.add("attack", "ct", {key: value / 2 for key, value in STORED.items()}, config="lr=0.1")
    tables.add("attack", "msg", dict.fromkeys([key for key in STORED if "_" not in key[0][4:]]))
    tables.add("attack", "finetune", status="failed")
    tables.add("attack", "cfw", status="diverged")
    tables.add("attack", "kde", dict.fromkeys(STORED), status="diverged")
    rows = derive(*tables.frames())
    for method in ("retrain", "original", "ct"):
        own = rows.filter(method=method, config="default")
        assert dict(own.filter(pl.col("metric").is_in(TRIO_METRICS)).select("metric", "value").rows()) == {
            f"{metric}_test": value for (metric, _), value in STORED.items()
        }
    halved = rows.filter(method="ct", config="lr=0.1", metric="mia_svm_test")["value"].item()
    assert halved == STORED["mia_svm", "test"] / 2
    assert flags(rows, "msg") == {"not computable"}
    assert flags(rows, "finetune") == {"attack failed"}
    assert flags(rows, "cfw") == {"attack diverged"}
    assert flags(rows, "kde") == {"trial diverged"}
    assert flags(rows, "scrub") == {"not measured"}
    judged = usable(rows, {"digits": 10}).filter(pl.col("config") == "default")
    assert set(judged.filter(~pl.col("usable"))["method"]) == {
        "kde"
    }  # whoever cannot be attacked is usable all the same


@pytest.mark.parametrize("asked", [False, True])
def test_the_gap_is_forget_minus_test_and_ranked_by_its_distance_to_retrain_where_it_was_asked_for(
    tables: Any, asked: bool
) -> None:
    gaps = {"retrain": 0.1, "original": -0.5, "over": 0.9, "near": -0.05}
    for seed in (0, 1):
        for method, gap in gaps.items():
            tables.trial(method, {"forget": 0.9 - gap, "test": 0.9}, seed=seed)  # its loss is 1 - accuracy
            if asked:
                tables.add("attack", method, STORED, seed=seed)
    rows = derive(*tables.frames())
    found = dict(rows.filter(metric="loss_gap", seed=0).select("method", "value").rows())
    assert found == pytest.approx(gaps)
    ranked = rank_study(rows, study="s", classes={"digits": 10}).filter(group="overall")
    own = ranked.filter(metric="loss_gap", status="ranked")
    assert dict(own.select("method", "rank").rows()) == ({"near": 1, "over": 2} if asked else {})
    assert set(ranked["metric"]) >= set(TRIO_ACCURACIES) if asked else set(ranked["metric"]).isdisjoint(TRIO_ACCURACIES)
    assert rows["metric"].is_in(TRIO_METRICS).any() == asked  # no row where nobody asked


def test_a_loss_that_is_broken_is_named_once(tables: Any) -> None:
    tables.trial("retrain")
    tables.add("unlearn", "ct", {("loss", "forget"): 1.0, ("loss", "test"): None})
    rows = derive(*tables.frames())
    flag = rows.filter(metric="loss_gap", method="ct")["flag"].item()
    assert flag == "loss_test not computable"
    reason = usable(rows, {"digits": 10}).filter(method="ct")["reason"].item()
    assert reason == "loss_test not computable"


def test_the_definitions_carry_the_warning() -> None:
    gap = definition("loss_gap")
    assert (gap.direction, gap.unit, gap.reference_value) == ("closest", "nat", None)
    assert "over-forgetting" in gap.what
    assert "retrain's value, not 0 and not 0.5" in gap.what
    for metric in TRIO_METRICS:
        known = definition(metric)
        assert (known.direction, known.unit, known.reference_value) == ("closest", "fraction", None)
        assert "2407.18467" in known.source
