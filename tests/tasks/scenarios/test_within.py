"""Forget sets that follow from labels: they nest, keep to their class, and are the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.contracts.scenario import Facts, InvalidScenario, Training
from tasks.scenarios.nested import Nested
from tasks.scenarios.within import RandomInClass, Subclass

registry.load()
LABELS = np.arange(1000) * 7 % 10


def sha(index: np.ndarray) -> str:
    """Return how an index is known for ever."""
    return hashlib.sha256(index.astype("<i8").tobytes()).hexdigest()[:16]


def forgotten_of(text: str, classes: int) -> set[int]:
    """Return the classes that a scenario forgets, whatever it stands for."""
    (one,) = registry.expand_scenario(text, classes)
    return set(registry.parse_scenario(one).forget_classes)


@given(st.integers(4, 200), st.data())
def test_nested_sets_of_classes_grow_one_class_at_a_time(classes: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, classes - 3))
    smaller, larger = (forgotten_of(f"nested:{n}", classes) for n in (count, count + 1))
    assert smaller < larger <= set(range(classes))
    assert (len(smaller), len(larger)) == (count, count + 1)


def test_nested_classes_are_the_scenarios_that_name_them() -> None:
    assert registry.expand_scenario("nested:1", 10) == ["class:7"]
    assert registry.expand_scenario("nested:3", 10) == ["classes:0,4,7"]
    assert registry.expand_scenario("nested:3", 100) == ["classes:21,71,92"]


@given(st.lists(st.integers(0, 4), min_size=12, max_size=200), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_share_of_a_class_is_never_all_of_it_and_lies_within_larger_shares(
    labels: list[int], one: float, other: float
) -> None:
    training = Training(np.array(labels))
    label = max(set(labels), key=labels.count)
    smaller, larger = (RandomInClass(label, share).divide(training) for share in sorted((one, other)))
    assert set(smaller[1].tolist()) <= set(larger[1].tolist())
    for retain, forget in (smaller, larger):
        assert sorted([*retain.tolist(), *forget.tolist()]) == list(range(len(labels)))
        assert 0 < len(forget) < labels.count(label)
        assert set(training.labels[forget].tolist()) == {label}


def test_the_draw_is_the_golden_one() -> None:
    retain, forget = registry.parse_scenario("random_in_class:3:0.5").divide(Training(LABELS))
    assert (len(forget), sha(forget), sha(retain)) == (50, "246c1f1f1321e933", "f2330f12d85e2886")


def test_a_share_of_a_class_is_drawn_and_no_prefix() -> None:
    _, forget = registry.parse_scenario("random_in_class:3:0.1").divide(Training(LABELS))
    own = np.flatnonzero(LABELS == 3)
    assert forget.max() > own[len(own) // 2]


def test_a_subclass_is_all_its_images_and_leaves_its_siblings() -> None:
    fine = np.arange(1000) % 50
    retain, forget = Subclass(7).divide(Training(fine // 5, fine))
    assert set(fine[forget].tolist()) == {7}
    assert len(forget) == 20
    assert set(fine[retain].tolist()) == set(range(50)) - {7}


@pytest.mark.parametrize(
    ("text", "facts", "says"),
    [
        ("subclass:69", Facts(10, 1000), "'subclass:69': it takes subclasses, as cifar20 has them; there are none"),
        ("subclass:100", Facts(20, 1000, 100), "'subclass:100': the subclass must lie between 0 and 99"),
        ("random_in_class:10:0.5", Facts(10, 1000), "'random_in_class:10:0.5': the class must lie between 0 and 9"),
        ("nested:9", Facts(10, 1000), "'nested:9': of 10 classes at most 8 can be forgotten, since 2 must be left"),
    ],
)
def test_what_a_data_set_cannot_serve_is_refused(text: str, facts: Facts, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        registry.parse_scenario(text).check(facts)
    assert str(caught.value) == says


def test_labels_that_are_not_there_are_refused_where_they_are_missed() -> None:
    with pytest.raises(InvalidScenario, match="'subclass:3': the training data has no labels of subclasses"):
        Subclass(3).divide(Training(LABELS))
    with pytest.raises(InvalidScenario, match="has 1 images of the class; it takes 2"):
        RandomInClass(5, 0.5).divide(Training(np.array([5, 1, 1, 2])))
    with pytest.raises(InvalidScenario, match="'nested:3': of 4 classes at most 2 can be forgotten"):
        Nested(3).stands_for(4)


@pytest.mark.parametrize(
    "text",
    [
        *("random_in_class:3", "random_in_class:3:0", "random_in_class:3:1", "random_in_class:-1:0.5"),
        *("random_in_class:3:nan", "nested:0", "nested:x", "nested:-1", "subclass:", "subclass:x", "subclass:-1"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidScenario, match=f"^'{text}'.* such as {text.partition(':')[0]}:"):
        registry.parse_scenario(text)


def test_the_caution_of_a_subclass_names_the_goal() -> None:
    assert "the goal is what retrain answers" in registry.caution_of("subclass:69")
    assert registry.caution_of("class:3") == registry.caution_of("random:0.1") == ""
