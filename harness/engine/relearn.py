"""How fast a model learns again what it was made to forget: the terms of the Anamnesis Index.

Source of the measure and of the defaults: Chundawat et al. 2023, arXiv 2201.05629. Ours are counting from 0, asking
less often after a while, a limit that small data sets reach too, and saying that a model is not back instead of giving
the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from harness.contracts.view import Samples
from harness.engine.data import DeviceData, batch_bounds
from harness.engine.evaluate import evaluate
from harness.engine.run import TrainingRun

TOLERANCE = 0.05
"""A model is back at this share below the accuracy of the original."""

EPOCHS, BATCH_SIZE, LEARNING_RATE = 10, 256, 1e-3
LEAST_STEPS = 500
"""A model is not given up before: on the digits, 10 epochs are 50 steps, too few for most retrains."""

AT_EVERY_STEP, THEN_EVERY = 50, 5
"""It is asked after every step up to the first number, later after every fifth, and after the last."""

ROUNDING = 1e-9
"""Accuracies are counts over n: the last bit of a product must not cost a step."""


def accuracy(model: nn.Module, data: DeviceData, index: Tensor) -> float:
    """Return the accuracy on the images at `index` [n] in [0, 1]; NaN for no image.

    An answer that is not finite is wrong: the largest of NaNs is class 0, which would be right for some.
    """
    found = evaluate(model, data, index)
    return float((found.correct & np.isfinite(found.phi)).mean()) if len(index) else float("nan")


def is_reached(found: float, target: float) -> bool:
    """Whether an accuracy is at least the target, or rounding alone keeps it below."""
    return found >= target - ROUNDING


def steps_at_most(images: int) -> int:
    """Return the steps after which a model is given up: whole epochs, `EPOCHS` of them and at least `LEAST_STEPS`."""
    return _epochs(images) * _batches(images)


def _epochs(images: int) -> int:
    return max(EPOCHS, math.ceil(LEAST_STEPS / _batches(images)))


def _batches(images: int) -> int:
    return len(list(batch_bounds(images, BATCH_SIZE)))


def relearn(model: nn.Module, samples: Samples, is_back: Callable[[nn.Module], bool], run: TrainingRun) -> int | None:
    """Train the model on all samples, augmented, until it `is_back`; return the optimiser steps that this took.

    0 where it is back from the start; None where `steps_at_most` do not suffice: a number that is not known.
    Asking is not on the clock of the run.
    """

    def asked() -> bool:
        with run.clock.paused():
            return is_back(model)

    if asked():
        return 0
    optimizer, most = Adam(model.parameters(), LEARNING_RATE), steps_at_most(len(samples))
    model.train()
    for _ in run.epochs(_epochs(len(samples)), model, optimizer):
        for images, labels, _ in samples.batches(BATCH_SIZE, augment=True):
            run.step(optimizer, cross_entropy(model(images), labels))
            is_last = run.steps == most
            if (run.steps <= AT_EVERY_STEP or run.steps % THEN_EVERY == 0 or is_last) and asked():
                return run.steps
    return None
