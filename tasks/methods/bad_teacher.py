"""Distillation from two teachers: the original where it may remember, an untrained model where it must forget."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.optim import Adam

from harness.contracts import FORGET, REFERENCE, RETAIN, Run, View, method, ranges, variants
from harness.engine.vision import torchvision

Teacher = Callable[[Tensor], Tensor]


@method(reads={RETAIN, FORGET}, source="Chundawat et al. 2023, AAAI, arXiv 2205.08096")
class BadTeacher:
    """Answer like the original on retain images and like an untrained model on forget images.

    The loss is KL(target || softmax(student / T)) over shuffled batches of retain and forget together, divided by
    the number of classes and without a factor T^2. The untrained model has the student's architecture; under
    `reference` it is torchvision's ResNet18, the same for every student and every seed.
    """

    lr: float = ranges.learning_rate(0.01)
    weight_decay: float = ranges.weight_decay(0.0)
    batch_size: int = ranges.batch_size(256)
    epochs: int = ranges.epochs(10)
    temperature: float = ranges.temperature(1.0)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the student, which starts as the original."""
        full = deepcopy(model).eval().requires_grad_(False)
        bad = self._bad_teacher(data.classes, run)
        both, kept = data.retain_and_forget, len(data.retain)
        optimizer = Adam(model.parameters(), self.lr, weight_decay=self.weight_decay)
        model.train()
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, _, positions in both.batches(self.batch_size):
                with torch.no_grad():
                    wanted = targets(full(images), bad(images), positions >= kept, self.temperature)
                run.step(optimizer, imitation(model(images), wanted, self.temperature))
        return model

    def _bad_teacher(self, classes: int, run: Run) -> Teacher:
        if self.variant != REFERENCE:
            return run.untrained_model("bad teacher").eval()
        resnet = released_bad_teacher(classes).to(run.device).eval()
        return lambda images: resnet(images.expand(-1, 3, -1, -1))  # it has three channels, also where images are grey


def targets(full: Tensor, bad: Tensor, forget: Tensor, temperature: float) -> Tensor:
    """Return probabilities [B, C]: those of the bad teacher where `forget` [B] is true, else of the full teacher."""
    return torch.where(forget[:, None], softmax(bad / temperature, dim=1), softmax(full / temperature, dim=1))


def imitation(student: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Return KL(wanted || softmax(student / T)) of logits [B, C], summed and divided by B x C as the release does."""
    divergence = kl_div(log_softmax(student / temperature, dim=1), wanted, reduction="sum")
    return divergence / student.numel()


def released_bad_teacher(classes: int) -> nn.Module:
    """Return the untrained ResNet18 that the released code draws for every run, from its one seed 123."""
    build = torchvision().models.resnet18
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        model: nn.Module = build(weights=None, num_classes=classes)
    return model
