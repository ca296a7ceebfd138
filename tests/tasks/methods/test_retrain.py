"""Retraining: the initial weights of the seed, augmented retain images, nothing of the model to be unlearned."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from harness.check import problem as tiny
from harness.contracts import RETAIN
from harness.engine.data import PartSamples
from harness.engine.models import digest
from harness.engine.train import train


def test_is_training_by_the_recipe_from_the_initial_model_of_the_seed() -> None:
    index = tiny.parts("random:0.1")
    spoilt = tiny.own_copy("cnn_small")
    torch.nn.init.constant_(next(spoilt.parameters()), float("nan"))
    for seed in (0, 1):
        found = tiny.unlearn("retrain", tiny.new_run(seed=seed), index, {}, model=spoilt)
        run = tiny.new_run(seed=seed)
        samples = PartSamples(tiny.data(), index[RETAIN], run.generator)
        expected = train(tiny.initial("cnn_small", seed), samples, tiny.SPEC.recipe, run)
        assert digest(found.state_dict()) == digest(expected.state_dict())


def variants(position: int) -> set[bytes]:
    """Every image that padding by one black pixel, cropping and mirroring can make of an image."""
    image: NDArray[np.uint8] = np.pad(tiny.images().images[position], ((0, 0), (1, 1), (1, 1)))
    windows = [image[:, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    return {np.ascontiguousarray(w).tobytes() for window in windows for w in (window, window[:, :, ::-1])}


def test_sees_every_retain_image_once_an_epoch_augmented_and_no_other_image() -> None:
    index = tiny.parts("class:3")
    run = tiny.new_run()
    model = run.initial_model()
    run.initial_model = lambda: model
    with tiny.seen_by(model) as batches:
        tiny.unlearn("retrain", run, index, {})
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny.SPEC.mean, tiny.SPEC.std))
    pixels = ((torch.cat(batches) * std + mean) * 255).round().to(torch.uint8).contiguous().numpy()
    source = {form: i for i in range(tiny.COUNT) for form in variants(i)}
    seen = [source[image.tobytes()] for image in pixels]
    retain = index[RETAIN].tolist()
    assert sorted(seen) == sorted(retain * tiny.SPEC.recipe.epochs)
    plain = {tiny.images().images[i].tobytes() for i in retain}
    assert np.mean([image.tobytes() in plain for image in pixels]) < 0.3  # 1 in 18 of the forms is the image itself
