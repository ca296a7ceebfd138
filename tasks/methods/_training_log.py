"""A training of which every step is kept: the weights before it, and which images were in its batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts import RETAIN, Build, ImageFormat, Run, View, artifact
from harness.engine.models import count_parameters
from harness.engine.train import optimizer_of, schedule_of
from harness.errors import HarnessError
from tasks.methods._records import Records

MOST_BYTES = 2 * 2**30
"""Of a log."""
NOBODY = -1
"""Stands for an image where a batch is smaller than others."""


class LogTooLarge(HarnessError):
    """A training of too many steps on too many weights."""


class TrainingLog(nn.Module):
    """A trained model and the steps that led to it.

    `steps` holds the `weights` [steps + 1, parameters] before each step and after the last one, float32, and the `ids`
    [steps, B] of the images of each batch. What a step added is the difference of neighbours, which needs no more room
    than the difference itself and is not rounded.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        ids = torch.empty(0, 0, dtype=torch.int64)
        self.steps = Records(weights=torch.empty(0, count_parameters(model)), ids=ids)

    def without(self, gone: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights [parameters] without the steps whose batches have an image of the ids `gone` [n].

        Also which steps [steps] these are. Summed in float64: in any order it is the same model.
        """
        weights = self.steps["weights"]
        hit = torch.isin(self.steps["ids"], gone).any(1)
        left = weights[-1].double()
        for step in hit.nonzero().flatten().tolist():
            left -= weights[step + 1].double() - weights[step].double()
        return left.to(weights.dtype), hit


def flat(model: nn.Module) -> Tensor:
    """Return a copy of all parameters, one after the other, [parameters]."""
    return torch.cat([one.detach().flatten() for one in model.parameters()])


@artifact(
    reads={RETAIN},
    of="training",
    source="Graves et al. 2021, AAAI, arXiv 2010.10981; of all batches",
)
class LoggedTraining:
    """The original's training by the recipe once more, with a log of what each step added to the weights."""

    def network(self, images: ImageFormat, build: Build) -> nn.Module:
        """Return the untrained original with an empty log."""
        return TrainingLog(build(""))

    def make(self, network: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the trained model with its log; raises `LogTooLarge` before it starts."""
        assert isinstance(network, TrainingLog)
        samples, recipe, model = data.retain, run.recipe, network.model
        most = recipe.epochs * math.ceil(len(samples) / recipe.batch_size)
        _check(most, count_parameters(model))
        weights = torch.empty(most + 1, count_parameters(model), device=run.device)
        ids = torch.full((most, recipe.batch_size + 1), NOBODY, device=run.device)  # one more in some even batches
        optimizer, taken = optimizer_of(model, recipe), 0
        model.train()
        for _ in run.epochs(recipe.epochs, model, optimizer, schedule_of(optimizer, recipe)):
            for images, labels, positions in samples.batches(recipe.batch_size, augment=True):
                weights[taken] = flat(model)
                ids[taken, : len(positions)] = samples.ids[positions]
                run.step(optimizer, cross_entropy(model(images), labels))
                taken += 1
        weights[taken] = flat(model)
        network.steps.note(weights=weights[: taken + 1], ids=ids[:taken])
        return network


def _check(steps: int, parameters: int) -> None:
    needed = 4 * (steps + 1) * parameters
    if needed > MOST_BYTES:
        raise LogTooLarge(
            f"the log of {steps} steps on {parameters:,} weights takes {needed / 2**30:.1f} GiB, more than the "
            f"{MOST_BYTES / 2**30:g} GiB that amnesiac_delta keeps; take fewer weights, fewer epochs or larger batches"
        )
