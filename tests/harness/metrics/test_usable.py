from __future__ import annotations

from typing import Any

import pytest

from harness.metrics import UnknownClassCount, derive, idle, usable

CLASSES = {"digits": 10}


def judge(tables: Any, classes: dict[str, int] = CLASSES) -> tuple[bool, str | None]:
    verdict = usable(derive(*tables.frames()), classes)
    return verdict["usable"].item(), verdict["reason"].item()


def test_a_finished_trial_well_above_chance_is_usable(tables: Any) -> None:
    tables.trial("ct")
    assert judge(tables) == (True, None)


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_trial_that_did_not_finish_is_unusable(tables: Any, status: str) -> None:
    tables.trial("ct", status=status)
    assert judge(tables) == (False, f"trial {status}")


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None])
def test_a_loss_that_is_not_finite_makes_a_trial_unusable(tables: Any, loss: float | None) -> None:
    tables.add("unlearn", "ct", {("accuracy", "test"): 0.9, ("loss", "forget"): loss})
    assert judge(tables)[0] is False
    assert "loss_forget not" in (judge(tables)[1] or "")


def test_a_population_mia_that_cannot_be_computed_makes_a_trial_unusable(tables: Any) -> None:
    tables.trial("ct", mia=None)
    assert judge(tables) == (False, "population_mia_test not computable")


def test_a_population_mia_that_nobody_asked_for_does_not(tables: Any) -> None:
    tables.add("unlearn", "ct", {("accuracy", "test"): 0.9, ("loss", "test"): 0.1})
    assert judge(tables) == (True, None)


@pytest.mark.parametrize(("accuracy", "expected"), [(0.14, False), (0.15, False), (0.151, True)])
def test_the_limit_is_one_and_a_half_times_chance(tables: Any, accuracy: float, expected: bool) -> None:
    tables.trial("ct", {"test": accuracy})
    assert judge(tables)[0] is expected
    assert judge(tables, {"digits": 100})[0] is True


def test_an_unmeasured_test_accuracy_makes_a_trial_unusable(tables: Any) -> None:
    tables.add("unlearn", "ct", {("accuracy", "val"): 0.9})
    assert judge(tables) == (False, "accuracy_test not measured")


def test_every_trial_is_judged_once(tables: Any) -> None:
    for seed in range(3):
        tables.trial("retrain", seed=seed)
        tables.trial("ct", {"test": 0.1 * seed}, seed=seed)
    verdict = usable(derive(*tables.frames()), CLASSES)
    assert verdict.filter(method="ct")["usable"].to_list() == [False, False, True]
    assert verdict.filter(method="retrain")["usable"].all()
    assert verdict.height == 6


def test_a_data_set_without_a_number_of_classes_is_refused(tables: Any) -> None:
    tables.trial("ct", dataset="digits@500")
    with pytest.raises(UnknownClassCount, match=r"'digits@500'.*did you mean 'digits'"):
        usable(derive(*tables.frames()), CLASSES)


def test_whoever_left_an_original_as_it_was_is_named_but_for_the_one_that_is_meant_to(tables: Any) -> None:
    for method, seed, share in (
        ("ct", 0, 0.5),
        ("ct", 1, 0.0),
        ("msg", 0, 1e-6),
        ("original", 0, 0.0),
        ("kde", 0, None),
    ):
        tables.add("unlearn", method, {("accuracy", "test"): 0.9, ("changed_weights", "all"): share}, seed=seed)
    assert idle(derive(*tables.frames())) == {("ct", "default")}
