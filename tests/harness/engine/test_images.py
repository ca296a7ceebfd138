"""Resizing and turning against torchvision, the way the references do them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.engine.images import resize, rotate
from harness.engine.vision import torchvision


@pytest.mark.parametrize(("before", "after"), [(28, 32), (32, 32), (40, 17)])
@pytest.mark.parametrize("channels", [1, 3])
def test_within_one_level_of_torchvision(before: int, after: int, channels: int) -> None:
    from PIL import Image

    torchvision()
    from torchvision.transforms import Resize

    images = np.random.default_rng(0).integers(0, 256, (5, channels, before, before)).astype(np.uint8)
    found = resize(images, after).astype(int)
    assert found.shape == (5, channels, after, after)
    for image, mine in zip(images, found, strict=True):
        picture = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
        theirs = np.atleast_3d(np.asarray(Resize((after, after))(picture))).transpose(2, 0, 1)
        difference = mine - theirs.astype(int)
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.25  # rounded: cutting off would be half a level too dark


def test_does_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 28, 28)).astype(np.uint8)
    whole = resize(images, 32)
    monkeypatch.setattr("harness.engine.images.BATCH", 3)
    np.testing.assert_array_equal(resize(images, 32), whole)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 14)])
def test_turns_every_image_by_its_own_angle_as_torchvision_does(shape: tuple[int, int, int]) -> None:
    torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import rotate as official

    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0)) * 255
    angles = [0.0, 15.0, -15.0, 7.3, -0.5, 90.0]
    found = rotate(images, torch.tensor(angles))
    for image, angle, mine in zip(images, angles, found, strict=True):
        theirs = official(image, angle, InterpolationMode.BILINEAR)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=5e-3)


def test_a_quarter_turn_moves_pixels_counter_clockwise_and_no_turn_moves_none() -> None:
    images = torch.arange(2 * 16, dtype=torch.float32).reshape(2, 1, 4, 4)
    quarter, none = rotate(images, torch.tensor([90.0, 0.0]))
    torch.testing.assert_close(quarter, torch.rot90(images[0], 1, (1, 2)), rtol=0, atol=1e-4)
    torch.testing.assert_close(none, images[1], rtol=0, atol=1e-4)
