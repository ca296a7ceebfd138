"""Units that do nothing, for measuring what surrounds them: eighteen methods with three hyperparameters each."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from torch import nn

from harness.contracts import Images, Recipe, Run, View, dataset, method, uniform

CLASSES, IMAGES, DEVELOPMENT, METHODS = 4, 120, 90, 18


@dataset(
    classes=CLASSES,
    shape=(1, 8, 8),
    development=DEVELOPMENT,
    test=IMAGES - DEVELOPMENT,
    mean=(0.5,),
    std=(0.25,),
    files={},
    source="nothing is learned from it",
    recipe=Recipe(epochs=1, batch_size=30, lr=0.01),
)
def blank(files: Mapping[str, bytes]) -> Images:
    """Black images."""
    return Images(np.zeros((IMAGES, 1, 8, 8), np.uint8), np.arange(IMAGES) % CLASSES)


def declare(number: int) -> None:
    """Declare a method of its own name that changes nothing."""

    class NoOp:
        """Change nothing."""

        a: float = uniform(0, 1, default=0.5)
        b: float = uniform(0, 1, default=0.5)
        c: float = uniform(0, 1, default=0.5)

        def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
            return model

    NoOp.__name__ = f"NoOp{number:02d}"
    method(reads=(), source="nothing")(NoOp)


for number in range(METHODS):
    declare(number)


if "ray" in sys.modules:  # a worker, or the driver, which performs nothing
    import no_op_work  # noqa: F401
