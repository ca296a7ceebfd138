"""The shadow design of Deep Unlearn: the published arrays, bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.farm_deep_unlearn import (
    HalfSplits,
    TooFewImages,
    draw_name,
    draw_number,
    half_split,
    half_splits,
    held_out,
)


@pytest.fixture(scope="module")
def cifar() -> HalfSplits:
    return half_splits(50_000)


def sha256(array: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<i8").tobytes()).hexdigest()[:16]


def test_arrays_are_the_published_ones(cifar: HalfSplits) -> None:
    assert cifar.val[:5].tolist() == [34049, 9776, 1945, 32806, 30294]
    assert cifar.forget[0, 0, :5].tolist() == [16130, 45508, 17503, 27113, 43050]
    assert cifar.forget.shape == (64, 10, 2375)
    hashes = {name: sha256(getattr(cifar, name)) for name in ("val", "train", "unseen", "forget")}
    assert hashes == {
        "val": "8316277275d26970",
        "train": "6ccab6955ede3ebf",
        "unseen": "886a6e0d9483ecd3",
        "forget": "626d9b54abe809b8",
    }


def test_halves_and_forget_sets_divide_what_is_not_held_out(cifar: HalfSplits) -> None:
    everything = np.arange(50_000)
    for split in (0, 63):
        whole = np.concatenate([cifar.val, cifar.train[split], cifar.unseen[split]])
        np.testing.assert_array_equal(np.sort(whole), everything)
        for draw in (0, 9):
            parts = np.concatenate([cifar.retain[split, draw], cifar.forget[split, draw]])
            np.testing.assert_array_equal(np.sort(parts), np.sort(cifar.train[split]))


@pytest.mark.parametrize("split", [0, 17, 63])
def test_one_split_and_one_draw_can_be_drawn_alone(cifar: HalfSplits, split: int) -> None:
    alone = half_split(50_000, split)
    np.testing.assert_array_equal(alone.train, cifar.train[split])
    np.testing.assert_array_equal(alone.unseen, cifar.unseen[split])
    for number in (0, 9):
        retain, forget = alone.draw(number)
        np.testing.assert_array_equal(retain, cifar.retain[split, number])
        np.testing.assert_array_equal(forget, cifar.forget[split, number])


def test_a_design_that_grows_keeps_what_it_had(cifar: HalfSplits) -> None:
    small = half_splits(50_000, splits=2, draws=3)
    np.testing.assert_array_equal(small.forget, cifar.forget[:2, :3])
    np.testing.assert_array_equal(small.val, cifar.val)


def test_a_draw_is_found_by_its_name() -> None:
    assert [draw_number(draw_name(number)) for number in (0, 9, 123)] == [0, 9, 123]


def test_an_image_is_forgotten_as_often_as_the_paper_counts(cifar: HalfSplits) -> None:
    pool = np.setdiff1d(np.arange(50_000), cifar.val)
    forgotten = np.bincount(cifar.forget.ravel(), minlength=50_000)[pool]
    never = np.bincount(cifar.unseen.ravel(), minlength=50_000)[pool] * cifar.forget.shape[1]
    assert (round(forgotten.mean(), 1), round(forgotten.std(), 1)) == (32.0, 6.7)
    assert (forgotten.min(), forgotten.max()) == (8, 64)
    assert (round(never.mean()), round(never.std())) == (320, 40)
    assert (never.min(), never.max()) == (160, 470)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TooFewImages, match="9 development images"):
        half_splits(9)
    with pytest.raises(TooFewImages, match="12 development images"):
        held_out(12)  # 11 without val, 5 in a half, round(0.5) = 0 in a forget set
    assert half_splits(13, 1, 1).forget.shape == (1, 1, 1)
