"""The cross-entropy loop, and training from scratch by a recipe."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from harness.contracts.recipe import Recipe
from harness.contracts.run import Run
from harness.contracts.view import Samples


def fit(
    model: nn.Module,
    samples: Samples,
    optimizer: Optimizer,
    run: Run,
    *,
    epochs: int,
    batch_size: int,
    schedule: LRScheduler | None = None,
    augment: bool = False,
    edit_gradients: Callable[[], None] | None = None,
) -> nn.Module:
    """Minimise the cross-entropy of the samples in train mode; return the model of the last epoch.

    The schedule is stepped once per epoch; `edit_gradients` runs before every optimiser step.
    """
    model.train()
    for _ in run.epochs(epochs, model, optimizer, schedule):
        for images, labels, _ in samples.batches(batch_size, augment=augment):
            run.step(optimizer, cross_entropy(model(images), labels), edit_gradients)
    return model


def train(model: nn.Module, samples: Samples, recipe: Recipe, run: Run) -> nn.Module:
    """Train a model from scratch on augmented samples by the recipe, as originals and retrains are."""
    optimizer = SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    schedule = CosineAnnealingLR(optimizer, recipe.epochs) if recipe.schedule == "cosine" else None
    return fit(
        model,
        samples,
        optimizer,
        run,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        schedule=schedule,
        augment=True,
    )
