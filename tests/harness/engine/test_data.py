"""Batches against a literal loop over single images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.check import problem as tiny
from harness.contracts import Augmentation, Images
from harness.engine.data import DeviceData, PartSamples, batch_bounds, crop, normalise, ragged_bounds
from harness.engine.images import rotate
from harness.engine.seeding import generator

sizes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 4))


def samples(key: int = 0, source: DeviceData | None = None) -> PartSamples:
    return PartSamples(source or tiny.data(), torch.arange(3, 40), generator("data", key))


def window(image: NDArray[np.uint8], top: int, left: int, padding: int) -> NDArray[np.uint8]:
    """The crop of one image, pixel by pixel: black outside of the image."""
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                row, column = y + top - padding, x + left - padding
                if 0 <= row < height and 0 <= column < width:
                    out[c, y, x] = image[c, row, column]
    return out


@given(sizes, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_crops_are_the_windows_of_the_black_framed_images(size: tuple[int, ...], seed: int) -> None:
    *shape, padding = size
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 256, shape).astype(np.uint8)
    offsets = rng.integers(0, 2 * padding + 1, (shape[0], 2))
    found = crop(torch.from_numpy(images), torch.from_numpy(offsets), padding)
    assert found.stride(1) == 1, "networks were trained on images with their channels last in memory"
    expected = [window(image, *offset, padding) for image, offset in zip(images, offsets, strict=True)]
    np.testing.assert_array_equal(found, np.stack(expected))


def test_augmented_batches_equal_a_loop_that_crops_mirrors_and_normalises_each_image() -> None:
    rng = np.random.default_rng(1)
    index = rng.permutation(tiny.COUNT)[:20]
    flips, offsets = rng.integers(0, 2, 20).astype(bool), rng.integers(0, 3, (20, 2))
    found = tiny.data().batch(torch.from_numpy(index), torch.from_numpy(flips), torch.from_numpy(offsets))
    for image, i, flip, offset in zip(found, index, flips, offsets, strict=True):
        pixels = window(tiny.images().images[i], *offset, padding=1)
        pixels = pixels[:, :, ::-1] if flip else pixels
        for channel in range(3):
            expected = (pixels[channel] / 255 - tiny.SPEC.mean[channel]) / tiny.SPEC.std[channel]
            np.testing.assert_allclose(image[channel], expected, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@given(sizes, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_normalising_row_by_row_changes_no_bit_and_no_layout(
    layout: torch.memory_format, size: tuple[int, ...], seed: int
) -> None:
    count, channels, height, width, _ = size
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, channels, height, width), generator=rng).float()
    pixels = pixels.contiguous(memory_format=layout)
    scale, shift = (torch.rand(1, channels, 1, 1, generator=rng) for _ in range(2))
    found, expected = normalise(pixels, scale, shift), torch.addcmul(shift, pixels, scale)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()


def test_grey_images_are_shown_in_every_channel() -> None:
    grey = np.arange(2 * 16, dtype=np.uint8).reshape(2, 1, 4, 4)
    shown = DeviceData.put(Images(grey, np.zeros(2, dtype=np.int64)), tiny.SPEC, tiny.CPU).batch(torch.arange(2))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
    torch.testing.assert_close((shown * std + mean) * 255, torch.from_numpy(grey).float().expand(2, 3, 4, 4))


@given(st.integers(0, 200), st.integers(2, 50))
def test_batches_cover_everything_and_are_as_many_as_asked_for_and_of_one_size(count: int, size: int) -> None:
    bounds = list(batch_bounds(count, size))
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(count))
    lengths = [stop - start for start, stop in bounds]
    if count > 1:
        assert max(lengths) - min(lengths) <= 1
        assert all(2 <= length <= size + 1 for length in lengths)
    if size > 2 or count % 2 == 0:
        assert len(lengths) == -(-count // size)


def test_a_pass_shows_every_image_once_in_an_order_drawn_anew() -> None:
    part = samples()
    passes = [torch.cat([batch.positions for batch in part.batches(10)]).tolist() for _ in range(2)]
    assert [sorted(order) for order in passes] == [list(range(37))] * 2
    assert passes[0] != passes[1]
    assert list(range(37)) not in passes


def test_a_batch_says_which_images_it_holds() -> None:
    part, source = samples(), tiny.data()
    for images, labels, positions in part.batches(10):
        assert torch.equal(images, source.batch(part.index[positions]))
        assert torch.equal(labels, source.labels[part.index[positions]])
        assert torch.equal(labels, part.labels[positions])


def test_unshuffled_passes_keep_the_order_and_draw_nothing() -> None:
    part = samples()
    before = part.generator.get_state()
    positions = torch.cat([batch.positions for batch in part.batches(10, shuffle=False)])
    assert torch.equal(positions, torch.arange(37))
    assert torch.equal(part.generator.get_state(), before)


def test_take_and_join_choose_and_append() -> None:
    part = samples()
    first, second = part.take(torch.tensor([5, 2])), part.take(torch.tensor([0]))
    joined = first.join(second)
    assert joined.index.tolist() == [8, 5, 3]
    assert torch.equal(joined.labels, tiny.data().labels[torch.tensor([8, 5, 3])])
    assert len(joined) == 3


def test_relabelled_data_shows_the_same_images_under_the_other_labels() -> None:
    others = (tiny.data().labels + 1) % tiny.CLASSES
    plain, other = samples(), samples(source=tiny.data().relabelled(others))
    for one, two in zip(plain.batches(10), other.batches(10), strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal((one.labels + 1) % tiny.CLASSES, two.labels)


@pytest.mark.parametrize("rules", [Augmentation(), Augmentation(flip=True), Augmentation(crop_padding=2)])
def test_augmentation_follows_the_rules_of_the_data_set(rules: Augmentation) -> None:
    source = replace(tiny.data(), augmentation=rules)
    changed = []
    for images, _, positions in samples(source=source).batches(37, augment=True):
        plain = source.batch(torch.arange(3, 40)[positions])
        changed = [not torch.equal(one, two) for one, two in zip(images, plain, strict=True)]
        mirrored = [torch.equal(one, two.flip(2)) for one, two in zip(images, plain, strict=True)]
    if rules == Augmentation():
        assert not any(changed)
    elif rules.flip:
        assert [c == m for c, m in zip(changed, mirrored, strict=True)] == [True] * 37
        assert 8 <= sum(changed) <= 29  # 37 fair coins; outside in less than one case in a thousand
    else:
        assert sum(changed) > 25  # one window in 25 is the image itself


def test_rotations_are_drawn_after_the_rest_inside_of_their_range_and_only_where_they_are_asked_for() -> None:
    """Without them every draw and every image is what it was before there were rotations."""
    rules = Augmentation(crop_padding=1, flip=True, rotation=15)
    plain, turned = samples(), samples(source=replace(tiny.data(), augmentation=rules))
    fair = samples()
    order = torch.randperm(37, generator=fair.generator)
    flips = torch.randint(2, (37,), generator=fair.generator).bool()
    offsets = torch.randint(3, (37, 2), generator=fair.generator)
    angles = 15 * (2 * torch.rand(37, generator=fair.generator) - 1)
    index = fair.index[order]
    (without,), (with_turns,) = plain.batches(37, augment=True), turned.batches(37, augment=True)
    assert torch.equal(without.images, tiny.data().batch(index, flips, offsets))
    assert torch.equal(with_turns.images, tiny.data().batch(index, flips, offsets, angles))
    assert torch.equal(turned.generator.get_state(), fair.generator.get_state())
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
    expected = (rotate((without.images * std + mean) * 255, angles) / 255 - mean) / std
    torch.testing.assert_close(with_turns.images, expected, rtol=0, atol=1e-4)
    assert -15 < angles.min() < -10
    assert 10 < angles.max() < 15


def test_every_window_is_drawn_about_equally_often() -> None:
    source = replace(tiny.data(), augmentation=Augmentation(crop_padding=1))
    part = PartSamples(source, torch.zeros(9000, dtype=torch.int64), generator("windows", 0))
    images = torch.cat([batch.images for batch in part.batches(9000, augment=True)])
    _, counts = torch.unique(images.flatten(1), dim=0, return_counts=True)
    assert len(counts) == 9
    assert counts.min() > 850
    assert counts.max() < 1150


@given(st.integers(0, 300), st.integers(1, 64))
def test_ragged_batches_are_full_ones_and_the_rest(count: int, size: int) -> None:
    bounds = list(ragged_bounds(count, size))
    sizes = [stop - start for start, stop in bounds]
    assert sizes == [size] * (count // size) + [count % size] * (count % size > 0)
    assert [start for start, _ in bounds] == [size * i for i in range(len(bounds))]


def test_samples_that_are_not_even_come_in_ragged_batches_of_the_same_images() -> None:
    even, ragged = samples(), replace(samples(), even=False)
    assert [len(batch.images) for batch in ragged.batches(10)] == [10, 10, 10, 7]
    assert [len(batch.images) for batch in even.batches(10)] == [10, 9, 9, 9]
    orders = [
        torch.cat([batch.positions for batch in s.batches(10)]) for s in (samples(), replace(samples(), even=False))
    ]
    assert torch.equal(*orders)
    assert [len(b.images) for b in ragged.take(torch.arange(5)).join(ragged).batches(40)] == [40, 2]


def test_an_image_has_one_id_in_every_part() -> None:
    index = torch.tensor([9, 4, 7, 30])
    samples = PartSamples(tiny.data(), index, torch.Generator())
    assert samples.ids.tolist() == [9, 4, 7, 30]
    assert samples.take(torch.tensor([2, 0])).ids.tolist() == [7, 9]
    assert samples.take(torch.tensor([1])).join(samples).ids.tolist() == [4, 9, 4, 7, 30]
    for batch in samples.batches(2):
        assert tiny.positions_of(batch.images, tiny.data()) == samples.ids[batch.positions].tolist()
