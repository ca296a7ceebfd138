"""Boundary shrink: forget images learn the class behind the nearest decision boundary of the original."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness.contracts import FORGET, Run, View, choice, log_uniform, method, ranges
from tasks.methods._attack import adversarial_images
from tasks.methods._labels import other_classes

PGD_STEPS = 5
"""Of a quarter of the bound each: with the paper's bound of 8/255, steps of 2/255."""


@method(reads={FORGET}, source="Chen et al. 2023, CVPR, arXiv 2303.11570, boundary shrink")
class BoundaryShrink:
    """Train forget images to be what the original takes adversarial copies of them for.

    A copy is one step of `eps` (`fgsm`; the released code's default, with 0.1) or five of eps / 4 (`pgd`) away, no
    pixel by more than `eps`, where pixels are in [0, 1]. Its label is the
    likeliest class that is neither the image's own nor in the request: the released code takes the likeliest of all,
    and so teaches the own class again where the attack fails. The share of attacks that succeed is recorded as
    `flipped`. In `mode` eval the running statistics of BatchNorm stay; the released code trains in mode train.
    """

    lr: float = ranges.learning_rate(1e-5)
    momentum: float = ranges.momentum()
    batch_size: int = ranges.batch_size(64)
    epochs: int = ranges.epochs(10)
    eps: float = log_uniform(1 / 255, 0.5, default=8 / 255)
    attack: str = choice("fgsm", "pgd", default="pgd")
    mode: str = choice("eval", "train", default="eval")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after training on forget under the labels of its neighbours; raises `NoClassLeft`."""
        neighbours = self._neighbours(model, data, run)
        optimizer = SGD(model.parameters(), self.lr, self.momentum)
        model.train(self.mode == "train")
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, _, positions in data.forget.batches(self.batch_size):
                run.step(optimizer, cross_entropy(model(images), neighbours[positions]))
        return model

    def _neighbours(self, model: nn.Module, data: View, run: Run) -> Tensor:
        """Return the label [n] that each forget image is to learn; the model is the original still."""
        is_open = other_classes(data)
        steps, step = (1, self.eps) if self.attack == "fgsm" else (PGD_STEPS, self.eps / 4)
        model.eval()
        found = torch.empty_like(data.forget.labels)
        for images, labels, positions in data.forget.batches(self.batch_size, shuffle=False):
            run.check()
            moved = adversarial_images(model, images, labels, data.images, bound=self.eps, steps=steps, step=step)
            with torch.no_grad():
                logits = model(moved)
            run.record("flipped", (logits.argmax(1) != labels).float().mean())
            found[positions] = logits.masked_fill(~is_open[positions], -torch.inf).argmax(1)
        return found
