"""What every registered scenario promises."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.contracts import SCENARIOS, TrainingArtifact
from harness.contracts.scenario import (
    Facts,
    InvalidScenario,
    Scenario,
    Training,
    alike,
    asked_for,
    forgotten_before,
)
from tasks.scenarios.random import Random

registry.load()
EXAMPLES = [SCENARIOS[name].example for name in SCENARIOS]
CLASSES, COUNT = 20, 1000
DIVIDING = [one for text in EXAMPLES for one in registry.expand_scenario(text, CLASSES)]
"""What the examples stand for on a data set of 20 classes."""
FACTS = Facts(CLASSES, COUNT, subclasses=5 * CLASSES, size=8)
FINE = np.random.default_rng(0).integers(0, 5 * CLASSES, COUNT)
LABELS = FINE // 5
TAMPERED = np.random.default_rng(1).permutation(COUNT) < 100


def says(one: TrainingArtifact | None) -> Any:
    """Answer at random for any model, always in the same way."""
    rng = np.random.default_rng(len(str(one)))
    return SimpleNamespace(correct=rng.random(COUNT) < 0.5, losses=rng.random(COUNT), features=rng.random((COUNT, 3)))


TRAINING = Training(LABELS, FINE, TAMPERED, says)


def round_trip(scenario: Scenario) -> Scenario:
    return registry.parse_scenario(str(scenario))


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_example_is_read_and_written_back(text: str) -> None:
    scenario = registry.parse_scenario(text)
    assert str(scenario) == text
    assert round_trip(scenario) == scenario
    scenario.check(FACTS)


@pytest.mark.parametrize("text", DIVIDING)
def test_retain_and_forget_divide_the_training_images_always_in_the_same_way(text: str) -> None:
    scenario = registry.parse_scenario(text)
    retain, forget = scenario.divide(TRAINING)
    assert retain.dtype == forget.dtype == np.int64
    earlier = forgotten_before(scenario, TRAINING).tolist()
    assert sorted([*retain.tolist(), *forget.tolist(), *earlier]) == list(range(COUNT))
    assert 0 < len(forget) < len(retain)
    again = registry.parse_scenario(text).divide(Training(LABELS.copy(), FINE.copy(), TAMPERED.copy(), says))
    np.testing.assert_array_equal(again[0], retain)
    np.testing.assert_array_equal(again[1], forget)


@pytest.mark.parametrize("text", DIVIDING)
def test_forget_classes_are_those_of_the_forget_set_where_the_request_names_classes(text: str) -> None:
    scenario = registry.parse_scenario(text)
    _, forget = scenario.divide(TRAINING)
    if scenario.forget_classes:
        assert set(LABELS[forget].tolist()) <= set(scenario.forget_classes)
        assert len(forget) == np.isin(LABELS, scenario.forget_classes).sum()
    elif (similar := alike(scenario, TRAINING)) is not None:
        assert len(set(LABELS[forget].tolist())) == 1
        assert similar[forget].all()
    else:
        assert len(set(LABELS[forget].tolist())) > 1


@pytest.mark.parametrize("text", DIVIDING)
def test_what_a_request_names_is_all_of_what_it_forgets(text: str) -> None:
    scenario = registry.parse_scenario(text)
    if (named := asked_for(scenario, TRAINING)) is not None:
        np.testing.assert_array_equal(np.flatnonzero(named), np.sort(scenario.divide(TRAINING)[1]))


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_two_fractions_never_share_a_text(fraction: float) -> None:
    assert round_trip(Random(fraction)) == Random(fraction)


@given(st.floats(0.01, 0.9), st.integers(2, 500))
def test_a_random_share_is_rounded_up(fraction: float, count: int) -> None:
    retain, forget = Random(fraction).divide(Training(np.zeros(count, dtype=np.int64)))
    assert len(forget) == math.ceil(fraction * count)
    assert len(retain) == count - len(forget)


def test_a_class_is_all_its_images_and_no_other() -> None:
    retain, forget = registry.parse_scenario("class:3").divide(TRAINING)
    assert set(LABELS[forget].tolist()) == {3}
    assert 3 not in LABELS[retain]


@pytest.mark.parametrize(
    "text",
    [
        *("random:", "random:x", "random:0", "random:1", "random:-0.1", "random:nan", "random:*"),
        *("class:", "class:-1", "class:x", "class:1,2"),
        *("classes:", "classes:1,", "classes:-1,2", "classes:x,y", "classes:*"),
    ],
)
def test_what_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    name = text.partition(":")[0]
    with pytest.raises(InvalidScenario, match=f"{re.escape(repr(text))}.*such as {SCENARIOS[name].example}"):
        registry.parse_scenario(text)


def test_a_class_that_is_not_there_is_refused() -> None:
    registry.parse_scenario("class:9").check(Facts(10, 1000))
    with pytest.raises(InvalidScenario, match="'class:10': the class must lie between 0 and 9"):
        registry.parse_scenario("class:10").check(Facts(10, 1000))


def test_several_classes_are_all_their_images_whatever_their_order() -> None:
    scenario = registry.parse_scenario("classes:7,2,2")
    assert str(scenario) == "classes:2,7"
    retain, forget = scenario.divide(TRAINING)
    assert set(LABELS[forget].tolist()) == {2, 7}
    assert not {2, 7} & set(LABELS[retain].tolist())


def test_several_classes_that_are_one_are_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidScenario, match=r"^'classes:4,4' names one class; write class:4$"):
        registry.parse_scenario("classes:4,4")


@pytest.mark.parametrize(("text", "classes"), [("class:0", 2), ("classes:0,1", 3), ("classes:0,1", 2)])
def test_two_classes_must_be_left(text: str, classes: int) -> None:
    registry.parse_scenario(text).check(Facts(classes + 2, 1000))
    with pytest.raises(InvalidScenario, match=f"of {classes} classes; at least 2 must be left$"):
        registry.parse_scenario(text).check(Facts(classes, 1000))


def test_each_class_in_turn() -> None:
    assert registry.expand_scenario("class:*", 3) == ["class:0", "class:1", "class:2"]
    assert registry.expand_scenario("class:1", 3) == ["class:1"]
    assert registry.expand_scenario("random:0.1", 3) == ["random:0.1"]
