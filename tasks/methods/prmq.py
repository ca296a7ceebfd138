"""Prune, redraw, match, quantise: the fourth-placed solution of the NeurIPS 2023 unlearning challenge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD

from harness.contracts import RETAIN, Batch, Run, Samples, View, method, ranges, variants


@method(reads={RETAIN}, source="Triantafillou et al. 2024, arXiv 2406.09073, 4th place (kgltop4)")
class PRMQ:
    """Prune the smallest weights, draw them anew and train on retain to be as sure of each image as the original was.

    The loss is CE with class weights n_c^-0.1 + MSE(H(student), H(original)), H the entropy of the softmax of one
    image. At the end every weight is rounded to half precision. `epochs` need not be whole: int(batches * epochs) + 1
    steps are taken.
    """

    lr: float = ranges.learning_rate(5e-4)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(64)
    epochs: float = ranges.fractional_epochs(3.2)
    prune: float = ranges.share(0.99)
    variant: str = variants("reference")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the trained model, rounded to half precision and back."""
        teacher = deepcopy(model).eval().requires_grad_(False)
        prune_smallest(model, self.prune)
        redraw_zeros(model, run.generator)
        weights = class_weights(data.retain.labels, data.classes).to(next(model.parameters()).dtype)
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        per_epoch = math.ceil(len(data.retain) / self.batch_size)
        steps = int(per_epoch * self.epochs) + 1
        batches = islice(endless(data.retain, self.batch_size), steps)
        model.train()
        for _ in run.epochs(math.ceil(steps / per_epoch), model, optimizer):
            for images, labels, _ in islice(batches, per_epoch):
                with torch.no_grad():
                    wanted = entropy(teacher(images))
                logits = model(images)
                run.step(optimizer, cross_entropy(logits, labels, weights) + mse_loss(entropy(logits), wanted))
        round_to_half(model)
        return model


def prunable(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Return the convolutions and linear layers."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


@torch.no_grad()
def prune_smallest(model: nn.Module, share: float) -> None:
    """Set the round(share x n) of the n weights and biases with the smallest magnitude, over all layers, to 0."""
    tensors = [p for layer in prunable(model) for p in (layer.weight, layer.bias) if p is not None]
    magnitudes = torch.cat([p.abs().flatten() for p in tensors])
    pruned = torch.zeros_like(magnitudes, dtype=torch.bool)
    pruned[magnitudes.argsort(stable=True)[: round(share * len(magnitudes))]] = True
    masks = torch.split(pruned, [p.numel() for p in tensors])
    for tensor, mask in zip(tensors, masks, strict=True):
        tensor.masked_fill_(mask.view_as(tensor), 0.0)


@torch.no_grad()
def redraw_zeros(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights that are 0 anew from U(-s, s), s = 1 / sqrt(inputs of one output); biases stay."""
    for layer in prunable(model):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        fresh = torch.empty(layer.weight.shape).uniform_(-bound, bound, generator=generator)
        layer.weight.copy_(torch.where(layer.weight == 0, fresh.to(layer.weight), layer.weight))


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return n_c^-0.1 [classes] for labels [n], n_c being how many there are of a class; 0 for absent classes."""
    counts = labels.bincount(minlength=classes)
    return counts.pow(-0.1).where(counts > 0, 0.0)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy [B] in nats of the softmax of logits [B, C]."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def endless(samples: Samples, batch_size: int) -> Iterator[Batch]:
    """Yield batches of one shuffled pass after the other."""
    while True:
        yield from samples.batches(batch_size)


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Round every floating-point parameter and buffer of the state to what float16 can hold, in place."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
