"""The cross-entropy loop, and training from scratch by a recipe."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer
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
    whole: nn.Module | None = None,
) -> nn.Module:
    """Minimise the cross-entropy of the samples in train mode; return the model of the last epoch.

    The schedule is stepped once per epoch; `edit_gradients` runs before every optimiser step. Where the model is one of
    several that answer together, the curves are those of the `whole`.
    """
    model.train()
    for _ in run.epochs(epochs, whole or model, optimizer, schedule):
        for images, labels, _ in samples.batches(batch_size, augment=augment):
            run.step(optimizer, cross_entropy(model(images), labels), edit_gradients)
    return model


def train(model: nn.Module, samples: Samples, recipe: Recipe, run: Run, whole: nn.Module | None = None) -> nn.Module:
    """Train a model on augmented samples by the recipe, as originals and retrains are; `whole` as in `fit`."""
    optimizer = optimizer_of(model, recipe)
    return fit(
        model,
        samples,
        optimizer,
        run,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        schedule=schedule_of(optimizer, recipe),
        augment=True,
        whole=whole,
    )


def optimizer_of(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimiser of a recipe for all parameters of a model."""
    if recipe.optimizer == "adamw":
        return AdamW(model.parameters(), recipe.lr, (recipe.momentum, 0.999), weight_decay=recipe.weight_decay)
    return SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)


def schedule_of(optimizer: Optimizer, recipe: Recipe) -> LRScheduler | None:
    """Return the schedule of a recipe, stepped once per epoch; None where its learning rate stays as it is."""
    return CosineAnnealingLR(optimizer, recipe.epochs) if recipe.schedule == "cosine" else None
