"""AMUN: fine-tune on the nearest adversarial images of forget under what the original takes those for."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, Samples, View, choice, fixed, method, ranges
from tasks.methods._attack import nearest_neighbours
from tasks.methods._batches import nothing_to_forget
from tasks.methods._mixing import mixed_batches

ROUNDS = 10
"""An image that is right after 512 times the first bound, a change of most of its pixels, has no neighbour."""


@method(reads={RETAIN, FORGET}, name="amun", source="Ebrahimpour et al. 2025, ICML, AMUN")
class AMUN:
    """Fine-tune on retain, forget and the nearest neighbours of forget that the original takes for another class.

    A neighbour (`nearest_neighbours`, from the bound `eps` on pixels in [0, 1]) is labelled with that class; an image
    that the original has wrong is its own neighbour, one without any within 10 doublings has none. The share that has
    one is recorded as `flipped`, how far they are as `distance`. Forget keeps its true labels, too, unless `forget` is
    `no`. With `retain` `no` retain images are left out, and the model trains in eval mode, so that the statistics of
    BatchNorm do not become those of forget; otherwise in train mode. Nothing is augmented. The paper is about random
    requests: a class that keeps its labels is not forgotten.
    """

    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = fixed(5e-4)
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(10)
    eps: float = fixed(0.04)
    retain: str = choice("yes", "no", default="yes")
    forget: str = fixed("yes", options=("yes", "no"))

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the fine-tuned model; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        near, labels = self._neighbours(model, data, run)
        if not len(labels):
            warnings.warn(
                f"{data.method}: no forget image has a neighbour that is taken for another class; "
                "the model is only fine-tuned",
                stacklevel=2,
            )
        samples = self._samples(data)
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        model.train(self.retain == "yes")
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, targets in mixed_batches(samples, near, labels, self.batch_size, run.generator):
                run.step(optimizer, cross_entropy(model(images), targets))
        return model

    def _neighbours(self, model: nn.Module, data: View, run: Run) -> tuple[Tensor, Tensor]:
        """Return the neighbours [n, C, H, W] of forget images that have one and what the original takes them for."""
        model.eval()
        near, answers = [], []
        for images, labels, _ in data.forget.batches(self.batch_size, shuffle=False):
            found = nearest_neighbours(
                model, images, labels, data.images, bound=self.eps, rounds=ROUNDS, check=run.check
            )
            flipped = found.answers != labels
            run.record("flipped", flipped.double().mean())
            run.record("distance", found.distances.mean())
            near.append(found.images[flipped])
            answers.append(found.answers[flipped])
        return torch.cat(near), torch.cat(answers)

    def _samples(self, data: View) -> Samples:
        """Return the real images to train on."""
        forget = data.forget if self.forget == "yes" else data.forget.take(torch.arange(0))
        return data.retain.join(forget) if self.retain == "yes" else forget
