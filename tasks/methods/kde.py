"""Weight reset and distillation: the sixth-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import REFERENCE, RETAIN, VAL, Run, Samples, View, method, ranges, variants
from harness.engine.losses import distillation
from harness.engine.weights import reset_parameters


@method(reads={RETAIN, VAL}, source="Triantafillou et al. 2024, arXiv 2406.09073, 6th place (kgltop6)")
class KDE:
    """Reset the stem and the head, then distil the original: without labels on validation images, then on retain.

    Phase 1: KL(softmax(original / T) || softmax(model / T)) on the validation images, in order. Phase 2, on retain:
    the soft cross-entropy between the same two, plus the cross-entropy of the labels, plus the KL of phase 1. So the
    validation part is trained on: what is measured with it is biased. `holdout` leaves it alone and puts a random
    piece of retain, of the same size but at most a half, in its place. `reference` resets a module called `conv1`
    in place of the stem.
    """

    lr: float = ranges.learning_rate(9e-4)
    weight_decay: float = ranges.weight_decay(5e-4)
    epochs: int = ranges.epochs(3)
    retain_lr: float = ranges.learning_rate(1e-3)
    retain_weight_decay: float = ranges.weight_decay(5e-4)
    retain_epochs: int = ranges.epochs(3)
    momentum: float = ranges.momentum()
    temperature: float = ranges.temperature(5.0)
    batch_size: int = ranges.batch_size(64)
    variant: str = variants("reference", "holdout")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after both phases."""
        teacher = deepcopy(model).eval().requires_grad_(False)
        for name in self._reset_modules(model, run):
            reset_parameters(model.get_submodule(name), run.generator)
        unlabelled, labelled = self._samples(data, run)
        model.train()

        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, _, _ in unlabelled.batches(self.batch_size, shuffle=False):
                run.step(optimizer, distillation(model(images), teacher(images), self.temperature))

        optimizer = SGD(model.parameters(), self.retain_lr, self.momentum, weight_decay=self.retain_weight_decay)
        schedule = CosineAnnealingLR(optimizer, self.retain_epochs)
        for _ in run.epochs(self.retain_epochs, model, optimizer, schedule):
            for images, labels, _ in labelled.batches(self.batch_size):
                run.step(optimizer, retain_loss(model(images), teacher(images), labels, self.temperature))
        return model

    def _reset_modules(self, model: nn.Module, run: Run) -> tuple[str, ...]:
        if self.variant == REFERENCE:
            first: tuple[str, ...] = tuple(name for name, _ in model.named_children() if name == "conv1")
        else:
            first = run.architecture.stem
        return (*first, run.architecture.head)

    def _samples(self, data: View, run: Run) -> tuple[Samples, Samples]:
        """Return the images of phase 1 and those of phase 2."""
        if self.variant != "holdout":
            return data.val, data.retain
        size = min(len(data.val), len(data.retain) // 2)
        order = torch.randperm(len(data.retain), generator=run.generator)
        return data.retain.take(order[:size]), data.retain.take(order[size:])


def retain_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the mean over a batch of logits [B, C] of soft cross-entropy, cross-entropy and divergence, summed.

    Cross-entropy and divergence of the teacher differ by its entropy alone: the teacher counts twice.
    """
    soft = cross_entropy(student / temperature, softmax(teacher / temperature, dim=1))
    return soft + cross_entropy(student, labels) + distillation(student, teacher, temperature)
