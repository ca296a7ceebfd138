"""SCRUB: a student that disobeys its teacher on forget, obeys it on retain, and is rewound at the end."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts import FORGET, RETAIN, VAL, Run, View, fixed, method, ranges, variants
from harness.engine.losses import distillation
from harness.engine.schedules import step_decay
from tasks.methods._error import error


@method(reads={RETAIN, FORGET, VAL}, source="Kurmanji et al. 2023, NeurIPS, arXiv 2302.09880, SCRUB+R")
class Scrub:
    """Move away from the original on forget and stay near it on retain, then rewind to the least conspicuous epoch.

    An epoch is a pass over forget with the loss -KD (in the first `max_steps` epochs), then a pass over retain with
    gamma * CE + alpha * KD; KD = T^2 * KL(softmax(original / T) || softmax(student / T)). At the end the epoch is taken
    whose error on forget was nearest to the final error on validation images of the same classes. Where the original
    itself was nearest, the final model is returned, as the released code does; `fixed` then returns the original.
    """

    lr: float = ranges.learning_rate(5e-4)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    retain_batch_size: int = ranges.batch_size(32)
    forget_batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(5)
    max_steps: int = ranges.epochs(3)
    temperature: float = ranges.temperature(2.0)
    gamma: float = ranges.share(1.0)
    alpha: float = ranges.share(0.5)
    decay: float = fixed(0.1, most=1)
    variant: str = variants("reference", "fixed")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the student after the epoch that was chosen."""
        teacher = deepcopy(model).eval().requires_grad_(False)
        states, errors = [teacher.state_dict()], [error(model, data.forget, run)]
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        schedule = LambdaLR(optimizer, lambda done: step_decay(done + 1, self.epochs, self.decay))
        model.train()
        for epoch in run.epochs(self.epochs, model, optimizer, schedule):
            if epoch < self.max_steps:
                for images, _, _ in data.forget.batches(self.forget_batch_size, shuffle=False):
                    run.step(optimizer, -self._distillation(model(images), teacher(images)))
            for images, labels, _ in data.retain.batches(self.retain_batch_size):
                logits = model(images)
                obedience = self._distillation(logits, teacher(images))
                run.step(optimizer, self.gamma * cross_entropy(logits, labels) + self.alpha * obedience)
            states.append(on_host(model))
            errors.append(error(model, data.forget, run))
        chosen = self._rewind_to(errors, model, data, run)
        model.load_state_dict(states[chosen])
        return model

    def _distillation(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.temperature**2 * distillation(student, teacher, self.temperature)

    def _rewind_to(self, errors: Sequence[Fraction], model: nn.Module, data: View, run: Run) -> int:
        """Return how many epochs the model to be returned was trained for."""
        comparable = torch.isin(data.val.labels, data.forget.labels).nonzero().squeeze(1)
        if not len(comparable):  # nothing to choose by
            return self.epochs
        nearest = rewinding_point(errors, error(model, data.val.take(comparable), run))
        return nearest if nearest or self.variant == "fixed" else self.epochs


def rewinding_point(errors: Sequence[Fraction], wanted: Fraction) -> int:
    """Return the index of the error nearest to the wanted one, the first of several."""
    return min(range(len(errors)), key=lambda index: abs(errors[index] - wanted))


def on_host(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's state in main memory: one for every epoch is too much for a GPU."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
