"""Resizing against torchvision on PIL images, the way the reference does it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.engine.images import resize
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
