"""Manipulated training data: what is changed and what is not, byte by byte; what is known of it; how it is judged."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import registry
from harness.contracts import Images
from harness.contracts.scenario import Facts, InvalidScenario, Tampering, Training

registry.load()
TRAIN = np.random.default_rng(4).permutation(800)
"""Training positions in no order; the other images are val and test."""
TEST = np.arange(900, 1000)


def images(high: int = 200) -> Images:
    """Return 1000 small images of ten classes, none of them as bright as 255."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, high, (1000, 3, 6, 7), dtype=np.uint8)
    return Images(pixels, np.arange(1000) * 7 % 10, np.arange(1000) % 50)


def tampering(text: str) -> Tampering:
    return registry.parse_tampering(text)


def changed(before: NDArray[np.generic], after: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which images differ anywhere."""
    return np.asarray((before != after).reshape(len(before), -1).any(axis=1))


@given(st.integers(1, 300))
def test_poison_is_a_patch_as_bright_as_the_brightest_pixel_and_the_label_0(count: int) -> None:
    before = images()
    found = tampering(f"poison:{count}").tamper(before, TRAIN)
    chosen = np.flatnonzero(found.mask)
    assert len(chosen) == count
    assert set(chosen.tolist()) <= set(TRAIN.tolist())
    assert 0 not in before.labels[chosen]
    expected, labels = before.images.copy(), before.labels.copy()
    for image in chosen:
        for row in (3, 4, 5):
            for column in (4, 5, 6):
                expected[image, :, row, column] = before.images.max()
        labels[image] = 0
    np.testing.assert_array_equal(found.images.images, expected)
    np.testing.assert_array_equal(found.images.labels, labels)
    assert (before.images == images().images).all(), "the given arrays are left alone"
    assert (before.labels == images().labels).all()


@given(st.integers(1, 70), st.sampled_from([(0, 1), (3, 8)]))
def test_a_swap_is_of_labels_alone_half_in_each_class(half: int, pair: tuple[int, int]) -> None:
    first, second = pair
    before = images()
    found = tampering(f"swap:{2 * half}:{first},{second}").tamper(before, TRAIN)
    np.testing.assert_array_equal(found.images.images, before.images)
    np.testing.assert_array_equal(found.mask, changed(before.labels, found.images.labels))
    assert set(np.flatnonzero(found.mask).tolist()) <= set(TRAIN.tolist())
    for own, other in (pair, pair[::-1]):
        of_class = found.mask & (before.labels == own)
        assert of_class.sum() == half
        assert set(found.images.labels[of_class].tolist()) == {other}


@pytest.mark.parametrize(("few", "many"), [("poison:20", "poison:90"), ("swap:20:2,7", "swap:90:2,7")])
def test_more_of_it_holds_less_of_it_and_none_of_it_lies_beyond_the_training_images(few: str, many: str) -> None:
    smaller, larger = (tampering(text).tamper(images(), TRAIN) for text in (few, many))
    assert (smaller.mask <= larger.mask).all()
    beyond = np.setdiff1d(np.arange(1000), TRAIN)
    for found in (smaller, larger):
        np.testing.assert_array_equal(found.images.images[beyond], images().images[beyond])
        np.testing.assert_array_equal(found.images.labels[beyond], images().labels[beyond])
        np.testing.assert_array_equal(found.images.fine, images().fine)


def test_the_draws_are_the_golden_ones() -> None:
    in_order = np.arange(1000)
    poison = np.flatnonzero(tampering("poison:100").tamper(images(), in_order).mask)
    assert hashlib.sha256(poison.astype("<i8").tobytes()).hexdigest()[:16] == "1d8e1a7bc2856462"


@given(st.sampled_from(["poison:100", "swap:60:2,7"]), st.floats(0.01, 1), st.floats(0.01, 1))
def test_what_is_known_nests_and_the_rest_hides_in_retain(text: str, one: float, other: float) -> None:
    found = tampering(text).tamper(images(), TRAIN)
    training = Training(found.images.labels, None, found.mask).at(TRAIN)
    assert training.tampered is not None
    parts = [registry.parse_scenario(f"{text}:{share}").divide(training) for share in sorted((one, other))]
    assert set(parts[0][1].tolist()) <= set(parts[1][1].tolist())
    for share, (retain, forget) in zip(sorted((one, other)), parts, strict=True):
        assert sorted([*retain.tolist(), *forget.tolist()]) == list(range(800))
        assert training.tampered[forget].all()
        assert len(forget) == max(1, round(share * found.mask.sum()))
    retain, forget = registry.parse_scenario(f"{text}:1").divide(training)
    assert not training.tampered[retain].any()
    assert training.tampered[forget].all()


def test_the_exam_of_poison_is_the_stamped_test_images_with_their_own_labels() -> None:
    exam = tampering("poison:10").exam(images(), TEST)
    asked = [position for position in TEST if images().labels[position] != 0]
    np.testing.assert_array_equal(exam.labels, images().labels[asked])
    assert (exam.images[:, :, -3:, -3:] == images().images.max()).all()
    np.testing.assert_array_equal(exam.images[:, :, :3], images().images[asked][:, :, :3])


def test_the_exam_of_a_swap_is_the_test_images_of_its_classes_as_they_are() -> None:
    exam = tampering("swap:10:2,7").exam(images(), TEST)
    asked = [position for position in TEST if images().labels[position] in (2, 7)]
    np.testing.assert_array_equal(exam.images, images().images[asked])
    np.testing.assert_array_equal(exam.labels, images().labels[asked])


def test_answers_are_judged_as_by_hand() -> None:
    labels, answers = np.array([1, 2, 3, 4, 5]), np.array([1, 0, 0, 9, 0])
    assert tampering("poison:10").numbers(labels, answers) == {
        ("manipulated", "accuracy"): 1 / 5,
        ("all", "attack_success"): 3 / 5,
    }
    labels, answers = np.array([2, 2, 2, 7, 7]), np.array([2, 7, 5, 2, 7])
    assert tampering("swap:10:2,7").numbers(labels, answers) == {
        ("manipulated", "accuracy"): 2 / 5,
        ("all", "confusion"): 2 / 5,
    }


def test_all_shares_have_one_tampering_and_those_that_hide_something_a_caution() -> None:
    assert {registry.tampering_of(f"poison:100:{share}") for share in ("0.1", "0.5", "1")} == {"poison:100"}
    assert registry.tampering_of("swap:100:7,2:0.1") == "swap:100:2,7"
    for text in ("random:0.1", "class:3", "random_in_class:3:0.5", "subclass:69", "nested:3"):
        assert registry.tampering_of(text) == ""
    assert registry.caution_of("poison:100:1") == registry.caution_of("swap:100:2,7:1") == ""
    assert "the retrain of poison:100:1," in registry.caution_of("poison:100:0.1")
    assert "the retrain of swap:100:2,7:1," in registry.caution_of("swap:100:2,7:0.1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("poison:801", "it takes 801 training images not of class 0, there are 720"),
        ("swap:400:2,7", "it takes 200 training images of class 2, there are "),
    ],
)
def test_too_many_are_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidScenario, match=f"^'{text}': {says}"):
        tampering(text).tamper(images(), np.arange(800))


def test_an_image_without_room_for_the_trigger_is_refused() -> None:
    small = Images(np.zeros((9, 1, 2, 8), dtype=np.uint8), np.arange(9))
    with pytest.raises(InvalidScenario, match="'poison:2': no room for its trigger of 3 x 3 pixels in images of 2 x 8"):
        tampering("poison:2").tamper(small, np.arange(9))


def test_data_that_nobody_tampered_with_is_refused() -> None:
    with pytest.raises(InvalidScenario, match="'poison:2:1': nobody has tampered with the training data"):
        registry.parse_scenario("poison:2:1").divide(Training(np.arange(9)))


@pytest.mark.parametrize(
    ("text", "facts", "says"),
    [
        ("poison:100:1", Facts(10, 100), "'poison:100:1': it takes more than 100 training images, there are 100"),
        ("poison:9:1", Facts(10, 100, 0, 2), "'poison:9:1': no room for its trigger of 3 x 3 pixels in images of 2"),
        ("swap:10:2,10:1", Facts(10, 100), "'swap:10:2,10:1': each class must lie between 0 and 9"),
        ("swap:100:0,1:1", Facts(10, 90), "'swap:100:0,1:1': it takes more than 100 training images, there are 90"),
    ],
)
def test_what_a_data_set_cannot_serve_is_refused(text: str, facts: Facts, says: str) -> None:
    with pytest.raises(InvalidScenario) as caught:
        registry.parse_scenario(text).check(facts)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    "text",
    [
        *(
            "poison:100",
            "poison:0:0.1",
            "poison:x:0.1",
            "poison:100:0",
            "poison:100:1.1",
            "poison:100:nan",
            "poison:-1:1",
        ),
        *("swap:100", "swap:100:0,1", "swap:100:0:0.1", "swap:100:0,1,2:0.1", "swap:0:0,1:1", "swap:100:0,x:0.1"),
        *("swap:100:0,1:0", "swap:100:3,3:0.1", "swap:101:0,1:0.1"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidScenario, match=f"^'{text}': [^\n]+$"):
        registry.parse_scenario(text)
