"""The split, against published vectors and against scikit-learn."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from harness import registry
from harness.contracts import Part
from harness.contracts.scenario import Training
from harness.engine.split import Split, divide, halves_of_test, shuffled_split, split, subset, subset_development

VECTORS = """
50000 train  7562 44432 16430 33688 48049 0be2ceb32b8bfbc0
50000 retain 30833 48150 4831 11184 46104 2d774d0b1d74cd9b
50000 forget 33810 44208 6639 25856 49484 e9b620dfb49798b9
50000 val    11872 40828 36400 5166 30273 b7f47c919b8a0b77
60000 train  6462 57602 41806 25360 10532 7d6b94c6d033f3ec
60000 retain 2793 8582 56864 20678 49784  1a45b723a06717c3
60000 forget 12238 20118 23825 29798 10974 d41285006b08fa4c
60000 val    29561 26640 24498 24594 24249 4a5f2ef69284bb59
18967 train  14750 16959 16978 8560 14451 36b1c1150e9403ad
18967 retain 2889 9919 10588 11798 4090   9f9926142fe0035c
18967 forget 1216 11795 8470 3484 12603   1b95b8a5185f0ddd
18967 val    3182 12626 11357 2735 18462  69a2b5abc2570a66
"""
"""Development images, part, its first five indices, sha256[:16] of its little-endian int64 array.

The splits of Cadet et al. 2024, arXiv 2410.01276: CIFAR, (Fashion-)MNIST and UTKFace with 10 % to forget.
"""
ROWS = [line.split() for line in VECTORS.strip().splitlines()]


def random_tenth(development: int, test: int = 10) -> Split:
    labels = np.zeros(development + test, dtype=np.int64)
    return split(Training(labels), development, registry.parse_scenario("random:0.1"))


@pytest.mark.parametrize(("development", "part", "first", "digest"), [(int(r[0]), r[1], r[2:7], r[7]) for r in ROWS])
def test_indices_are_the_published_ones(development: int, part: str, first: list[str], digest: str) -> None:
    index = getattr(random_tenth(development), part)
    assert index[:5].tolist() == [int(text) for text in first]
    assert hashlib.sha256(index.astype("<i8").tobytes()).hexdigest()[:16] == digest


@given(st.integers(4, 500), st.floats(0.01, 0.9), st.integers(0, 10))
@settings(deadline=None)
def test_is_the_shuffled_split_of_scikit_learn(count: int, share: float, state: int) -> None:
    if np.ceil(share * count) >= count:
        return
    kept, drawn = train_test_split(np.arange(count), test_size=share, random_state=state)
    found = shuffled_split(count, share, state)
    np.testing.assert_array_equal(found[0], kept)
    np.testing.assert_array_equal(found[1], drawn)


@pytest.mark.parametrize("scenario", ["random:0.1", "random:0.5", "class:2"])
def test_parts_divide_the_data_and_val_and_test_do_not_depend_on_the_scenario(scenario: str) -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    found = split(Training(labels), 240, registry.parse_scenario(scenario))
    parts = [found.of(part) for part in Part]
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    assert sorted(found.train.tolist()) == sorted([*found.retain.tolist(), *found.forget.tolist()])
    if scenario == "class:2":
        assert found.forget.tolist() == [i for i in found.train if labels[i] == 2]
    np.testing.assert_array_equal(found.test, np.arange(240, 300))
    np.testing.assert_array_equal(found.val, random_tenth(240).val)
    assert all(index.dtype == np.int64 for index in parts)


@given(st.integers(10, 400), st.integers(10, 100), st.data())
@settings(deadline=None)
def test_a_subset_keeps_the_shares_of_development_and_test(development: int, test: int, data: st.DataObject) -> None:
    labels = np.zeros(development + test, dtype=np.int64)
    count = data.draw(st.integers(1, len(labels)))
    index, kept = subset(labels, development, count)
    assert len(index) == len(set(index.tolist())) == count
    assert abs(kept - count * development / len(labels)) <= 0.5
    assert kept == subset_development(development, len(labels), count)
    assert (index[:kept] < development).all()
    assert (index[kept:] >= development).all()
    assert (index < len(labels)).all()
    again, _ = subset(labels, development, count)
    np.testing.assert_array_equal(index, again)


def test_the_whole_data_set_has_all_its_development_images() -> None:
    assert subset_development(800, 1000, 0) == 800


def test_the_starting_kit_halves_the_test_images_as_random_split_does() -> None:
    from torch import Generator
    from torch.utils.data import random_split

    for count in (10_000, 11):
        halves = random_split(range(count), [0.5, 0.5], generator=Generator().manual_seed(42))  # type: ignore[arg-type]
        for found, published in zip(halves_of_test(count), halves, strict=True):
            assert found.tolist() == list(published.indices)
    test, val = halves_of_test(10_000)
    assert len(test) == len(val) == 5_000
    assert test[:5].tolist() == [7542, 8214, 3698, 2841, 8086]


@pytest.mark.parametrize("scenario", ["random:0.1", "class:2"])
def test_the_kit_trains_on_all_development_images_and_halves_the_others(scenario: str) -> None:
    labels = np.random.default_rng(0).integers(0, 5, 301)
    found = split(Training(labels), 240, registry.parse_scenario(scenario), "test")
    assert sorted(np.concatenate([found.of(part) for part in Part]).tolist()) == list(range(301))
    assert found.train.tolist() == list(range(240))
    assert sorted(np.concatenate([found.test, found.val]).tolist()) == list(range(240, 301))
    assert (len(found.test), len(found.val)) == (31, 30)
    assert found.test.tolist() == [240 + position for position in halves_of_test(61)[0]]
    assert all(found.of(part).dtype == np.int64 for part in Part)


@pytest.mark.parametrize(("development", "total"), [(240, 300), (50_000, 60_000)])
def test_what_is_divided_is_what_a_split_has(development: int, total: int) -> None:
    found = split(Training(np.zeros(total, dtype=np.int64)), development, registry.parse_scenario("random:0.1"))
    for index, name in zip(divide(development, total), ("train", "val", "test"), strict=True):
        np.testing.assert_array_equal(index, getattr(found, name))


def test_a_subset_is_not_a_prefix() -> None:
    index, _ = subset(np.zeros(1000, dtype=np.int64), 800, 100)
    assert index[:80].max() > 700
    assert index[80:].max() > 950
