"""Forget sets drawn by trained models: by hand where a formula says who is in, by properties where models vary."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.check import problem as tiny
from harness.contracts import ARTIFACTS, RETAIN, TrainingArtifact
from harness.contracts.scenario import Facts, Floats, InvalidScenario, Mask, Training
from tasks.scenarios._subset_model import SubsetModel, fewest_models, left_out, membership, memorisation
from tasks.scenarios.by_models import Entangled, Loss, Memorised

COUNT = 300


@dataclass(frozen=True)
class Says:
    """A model that answers what a test wants."""

    correct: Mask = field(default_factory=lambda: np.ones(COUNT, dtype=bool))
    losses: Floats = field(default_factory=lambda: np.zeros(COUNT))
    features: Floats = field(default_factory=lambda: np.zeros((COUNT, 2)))


def forgotten(text: str, ask: Callable[[TrainingArtifact | None], Says]) -> list[int]:
    """Return what a scenario forgets, sorted; the rest must be what it retains."""
    training = Training(np.zeros(COUNT, dtype=np.int64), models=ask)
    retain, forget = registry.parse_scenario(text).divide(training)
    assert sorted([*retain.tolist(), *forget.tolist()]) == list(range(COUNT))
    return sorted(forget.tolist())


def by_number(one: TrainingArtifact | None) -> int:
    assert isinstance(one, SubsetModel)
    return one.number


def test_memorised_images_are_those_that_models_know_only_if_they_saw_them() -> None:
    """Images 0 to 9 are known to who saw them, 10 to 19 to every second of these, all others to everybody or nobody."""
    inside = membership(COUNT, 32)

    def ask(one: TrainingArtifact | None) -> Says:
        number = by_number(one)
        known = np.arange(COUNT) % 2 == 0
        known[:10] = inside[number, :10]
        seen_before = inside[: number + 1, 10:20].sum(0)
        known[10:20] = inside[number, 10:20] & (seen_before % 2 == 0)
        return Says(correct=known)

    assert forgotten("memorised:high:0.0333", ask) == list(range(10))
    assert forgotten("memorised:mid:0.0333", ask) == list(range(10, 20))
    assert forgotten("memorised:low:0.0333", ask) == list(range(20, 30)), "of equal ones the first"
    assert forgotten("memorised:mixed:0.1", ask) == list(range(30)), "a third of each, none twice"
    assert forgotten("memorised:mixed:0.0366", ask) == [0, 1, 2, 10, 11, 12, 13, 20, 21, 22, 23]
    score, error = Memorised.parse("high:0.1").scores(Training(np.zeros(COUNT, dtype=np.int64), models=ask))
    assert score[:10].tolist() == [1.0] * 10
    assert score[10:20].tolist() == [0.5] * 10
    assert not score[20:].any()
    np.testing.assert_allclose(error[10:20], np.sqrt(0.25 / 22))
    assert not error[:10].any()


def test_the_score_is_a_difference_of_shares_with_the_error_of_both() -> None:
    inside = np.array([[1, 1, 1, 0, 0]], dtype=bool).T
    correct = np.array([[1, 1, 0, 1, 0]], dtype=bool).T
    score, error = memorisation(correct, inside)
    assert score[0] == pytest.approx(2 / 3 - 1 / 2)
    assert error[0] == pytest.approx(np.sqrt((2 / 3) * (1 / 3) / 3 + 1 / 8))


@given(st.integers(1, 400), st.integers(25, 80))
def test_each_image_is_left_out_of_equally_many_models(count: int, models: int) -> None:
    inside = membership(count, models)
    assert inside.shape == (models, count)
    assert set((~inside).sum(0).tolist()) == {left_out(models)}
    assert 8 <= left_out(models) <= models - 8
    np.testing.assert_array_equal(inside, membership(count, models))


def test_models_see_different_images_and_about_as_many() -> None:
    inside = membership(5000, 32)
    assert len({row.tobytes() for row in inside}) == 32
    np.testing.assert_allclose(inside.mean(1), 22 / 32, atol=5 * np.sqrt(0.22 / 5000))
    shared = np.corrcoef(inside)
    assert np.abs(shared[~np.eye(32, dtype=bool)]).max() < 0.1


def test_a_model_is_trained_on_the_images_that_it_is_said_to_have_seen() -> None:
    run = tiny.new_run(recipe=replace(tiny.SPEC.recipe, epochs=1))
    one, order = SubsetModel(number=3, of=32, share=0.7), tiny.parts("random:0.1")[RETAIN]
    data = replace(tiny.data(), augmentation=replace(tiny.SPEC.augmentation, crop_padding=0, flip=False))
    network = one.network(tiny.SPEC.format, run.untrained_model)
    with tiny.seen_by(network) as batches:
        one.make(network, tiny.view(ARTIFACTS["subset_model"], run, {RETAIN: order}, data), run)
    seen = sorted(position for batch in batches for position in tiny.positions_of(batch, data))
    assert seen == sorted(order[membership(len(order), 32)[3].nonzero()[0]].tolist())


def test_entangled_images_are_the_first_of_a_group_by_distance_to_the_mean_of_all_features() -> None:
    """Features on a ray through the mean of all: 300 distances in a known order, 20 to a group."""
    rank = np.random.default_rng(0).permutation(COUNT)
    steps = np.where(rank % 2 == 0, 1.0, -1.0) * (rank // 2 + 1)  # pairs on both sides, equally far
    at: dict[str, list[int]] = {}
    for level, group in (("low", 3), ("mid", 12), ("high", 14)):
        found = forgotten(f"entangled:{level}:0.02", lambda _: Says(features=np.stack([7 + steps, 3 - steps], 1)))
        at[level] = sorted(rank[found].tolist())
        first = 20 * (group - 1)
        assert at[level] == list(range(first, first + 6))


def test_losses_are_ordered_and_ties_go_to_the_first() -> None:
    losses = np.full(COUNT, 1.0)
    losses[[200, 40]], losses[[250, 7, 8]] = 0.1, 9.0

    def ask(one: TrainingArtifact | None) -> Says:
        assert one is None, "the original"
        return Says(losses=losses)

    assert forgotten("loss:low:0.01", ask) == [0, 40, 200]
    assert forgotten("loss:high:0.01", ask) == [7, 8, 250]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "memorised:higher:0.1",
            "it takes high, mid, low or mixed, and the share of the training images, between 0 and 1",
        ),
        ("memorised:high:2", "between 0 and 1, such as memorised:high:0.02"),
        ("memorised:high:0.1:24", "it takes 25 models at least, so that each image is left out of 8"),
        ("memorised:high:0.1:x", "it takes 25 models at least"),
        ("entangled:high", "such as entangled:high:0.02"),
        ("loss:mid:0.1", "it takes high or low, and the share"),
    ],
)
def test_what_cannot_be_read_says_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(InvalidScenario, match=re.escape(told)):
        registry.parse_scenario(text)


def test_as_many_models_as_asked_for_and_the_usual_number_is_not_written() -> None:
    assert fewest_models(8) == 25
    assert str(Memorised.parse("mid:0.1:32")) == "memorised:mid:0.1"
    assert str(Memorised.parse("mid:0.1:40")) == "memorised:mid:0.1:40"
    assert [by_number(one) for one in Memorised.parse("mid:0.1:40").evidence()] == list(range(40))


def test_what_a_data_set_cannot_serve_is_refused() -> None:
    Entangled.parse("low:0.06").check(Facts(10, 1500))
    with pytest.raises(InvalidScenario, match="120 images are more than a 15th of 1500; take a smaller share"):
        Entangled.parse("low:0.08").check(Facts(10, 1500))
    with pytest.raises(InvalidScenario, match="nothing of 10 training images is left"):
        Loss.parse("low:0.95").check(Facts(10, 10))


def test_without_models_nothing_is_drawn() -> None:
    with pytest.raises(InvalidScenario, match="drawn by trained models, and there are none to ask"):
        Loss.parse("low:0.1").divide(Training(np.zeros(9, dtype=np.int64)))
