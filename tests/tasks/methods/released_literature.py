"""What the released code does for the eleven methods of the literature, in plain loops; see `released`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import cycle
from typing import Any

import numpy as np
import torch
from released import BLOCKS, HEAD, SGD, Adam, Batch, Problem, cosine, divergence, optimiser, stepped, uniform
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from harness.check import problem as tiny
from harness.engine.vision import torchvision
from harness.engine.weights import add_noise

LABEL_SEED = TEACHER_SEED = 123


def finetune(p: Problem, v: Any) -> nn.Module:
    descent = optimiser(p, v)
    p.model.train()
    for epoch in range(v.epochs):
        descent.lr = cosine(epoch, v.epochs, v.lr)
        for x, y, _ in p.batches(p.retain, v.batch_size):
            descent.step(cross_entropy(p.model(x), y))
    return p.model


def gradient_ascent(p: Problem, v: Any) -> nn.Module:
    descent = optimiser(p, v)
    p.model.train()
    for _ in range(v.epochs):
        for x, y, _ in p.batches(p.forget, v.batch_size):
            descent.step(-cross_entropy(p.model(x), y))
    return p.model


def successive_random_labels(p: Problem, v: Any, masks: Sequence[Tensor] | None = None) -> nn.Module:
    descent = optimiser(p, v)
    union = torch.cat([p.retain, p.forget])
    p.model.train()
    for _ in range(v.epochs):
        dice = np.random.default_rng(LABEL_SEED)
        for x, y, places in p.batches(union, v.batch_size):
            accessed = zip(y.tolist(), places.tolist(), strict=True)
            given = [int(dice.integers(tiny.CLASSES)) if place >= len(p.retain) else label for label, place in accessed]
            descent.step(cross_entropy(p.model(x), torch.tensor(given)), masks)
    return p.model


def salun(p: Problem, v: Any) -> nn.Module:
    parameters = list(p.model.parameters())
    total = [torch.zeros_like(w) for w in parameters]
    p.model.eval()
    for x, y, _ in p.batches(p.forget, v.batch_size):
        for t, g in zip(total, torch.autograd.grad(-cross_entropy(p.model(x), y), parameters), strict=True):
            t.add_(g)
    size = torch.cat([t.flatten() for t in total]).abs()
    mask = torch.zeros_like(size)
    mask[size.argsort(descending=True)[: int(v.threshold * len(size))]] = 1
    pieces = mask.split([w.numel() for w in parameters])
    return successive_random_labels(p, v, [m.view(w.shape) for m, w in zip(pieces, parameters, strict=True)])


def without_attention_biases(model: nn.Module) -> list[Tensor]:
    """Return what has a gradient in eval mode in the TinyViT that was released; freeze the rest."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(not name.endswith("attention_biases"))
    return [weight for weight in model.parameters() if weight.requires_grad]


def neg_grad_plus(p: Problem, v: Any) -> nn.Module:
    descent = SGD(without_attention_biases(p.model), v.lr, v.momentum, v.weight_decay)
    p.model.eval()
    for _ in range(v.epochs):
        for kept, forgotten in zip(
            p.batches(p.retain, v.batch_size), cycle(p.batches(p.forget, v.batch_size)), strict=False
        ):
            keep, forget = (cross_entropy(p.model(b.images), b.labels) for b in (kept, forgotten))
            descent.step(v.alpha * keep - (1 - v.alpha) * forget)
    return p.model


def bad_teacher(p: Problem, v: Any) -> nn.Module:
    good = p.teacher()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TEACHER_SEED)
        bad = torchvision().models.resnet18(weights=None, num_classes=tiny.CLASSES).to(p.precision).eval()
    descent = Adam(list(p.model.parameters()), v.lr, v.weight_decay)
    p.model.train()
    for _ in range(v.epochs):
        for x, _, places in p.batches(torch.cat([p.retain, p.forget]), v.batch_size):
            with torch.no_grad():
                forgotten = (places >= len(p.retain)).view(-1, 1)
                wanted = softmax(torch.where(forgotten, bad(x), good(x)) / v.temperature, 1)
            descent.step((wanted * (wanted.log() - log_softmax(p.model(x) / v.temperature, 1))).mean())
    return p.model


def error(model: nn.Module, batches: Iterator[Batch]) -> float:
    """Return the share of images that a model gets wrong; afterwards it is in train mode."""
    model.eval()
    with torch.no_grad():
        wrong = torch.cat([model(x).argmax(1) != y for x, y, _ in batches])
    model.train()
    return float(wrong.double().mean())


def scrub_epochs(p: Problem, v: Any) -> tuple[list[dict[str, Tensor]], int]:
    """Return the state before training and after every epoch, and which of them the rewinding picks."""
    good, descent = p.teacher(), optimiser(p, v)
    states, errors = [deepcopy(p.model.state_dict())], [error(p.model, p.batches(p.forget, 5, shuffle=False))]
    for epoch in range(1, v.epochs + 1):
        descent.lr = v.lr * stepped(epoch, v.epochs, 0.1)
        if epoch <= v.max_steps:
            for x, _, _ in p.batches(p.forget, v.forget_batch_size, shuffle=False):
                descent.step(-(v.temperature**2) * divergence(p.model(x), good(x).detach(), v.temperature))
        for x, y, _ in p.batches(p.retain, v.retain_batch_size):
            found = p.model(x)
            distilled = v.temperature**2 * divergence(found, good(x).detach(), v.temperature)
            descent.step(v.gamma * cross_entropy(found, y) + v.alpha * distilled)
        states.append(deepcopy(p.model.state_dict()))
        errors.append(error(p.model, p.batches(p.forget, 5, shuffle=False)))
    labels = torch.from_numpy(tiny.images().labels)
    comparable = p.val[torch.isin(labels[p.val], labels[p.forget])]
    target = error(p.model, p.batches(comparable, 5, shuffle=False))
    distances = [abs(e - target) for e in errors]
    return states, distances.index(min(distances))


def scrub(p: Problem, v: Any) -> nn.Module:
    states, picked = scrub_epochs(p, v)
    if picked > 0:  # the model from before training is never gone back to: the last one is kept instead
        p.model.load_state_dict(states[picked])
    return p.model


def opened(p: Problem, k: int) -> list[nn.Module]:
    """Return the last k blocks and the classifier."""
    return [p.layer(name) for name in (*BLOCKS[p.architecture][-k:], HEAD[p.architecture])]


def cf_k(p: Problem, v: Any, augment: bool = False) -> nn.Module:
    within = {id(weight) for module in opened(p, v.k) for weight in module.parameters()}
    trained = [weight for weight in without_attention_biases(p.model) if id(weight) in within]
    anchors = [weight.detach().clone() for weight in trained]
    descent = SGD(trained, v.lr)
    p.model.eval()
    for epoch in range(v.epochs):
        descent.lr = v.lr * stepped(epoch, v.epochs, v.decay)
        for x, y, _ in p.batches(p.retain, v.batch_size, augment=augment):
            distance = sum(((w - a) ** 2).sum() for w, a in zip(trained, anchors, strict=True))
            descent.step(cross_entropy(p.model(x), y) + v.l2 / 2 * distance)
    return p.model


def eu_k(p: Problem, v: Any) -> nn.Module:
    with torch.no_grad():
        for layer in (layer for module in opened(p, v.k) for layer in module.modules()):
            if isinstance(layer, nn.Conv2d):
                bound = math.sqrt(6 / (layer.weight.shape[0] * layer.weight[0, 0].numel()))
                layer.weight.copy_(uniform(layer.weight.shape, bound, p.order))
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(1)
            elif isinstance(layer, nn.Linear):
                bound = math.sqrt(6 / sum(layer.weight.shape))
                layer.weight.copy_(uniform(layer.weight.shape, bound, p.order))
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear) and layer.bias is not None:
                layer.bias.fill_(0)
    return cf_k(p, v, augment=True)


def fisher_forgetting(p: Problem, v: Any) -> nn.Module:
    weights = list(p.model.parameters())
    fisher, batches = [torch.zeros_like(w) for w in weights], 0
    p.model.eval()
    for x, _, _ in p.batches(p.retain, v.batch_size, shuffle=False):
        batches += 1
        for y in range(tiny.CLASSES):
            logits = p.model(x)
            gradients = torch.autograd.grad(cross_entropy(logits, torch.full((len(x),), y)), weights)
            for f, g in zip(fisher, gradients, strict=True):
                f.add_(softmax(logits.detach(), 1)[:, y].mean() * g**2)
    for w, f in zip(weights, fisher, strict=True):
        head = w.shape[0] == tiny.CLASSES
        variance = (1 / (f / batches + 1e-8)).clamp(max=1e2 if head else 1e3) * v.alpha
        if w.ndim > 1:
            variance = variance.mean(1, keepdim=True).expand_as(w)
        if head or w.ndim == 1:
            variance = 10 * variance
        add_noise(w, variance.sqrt(), p.order)
    return p.model


def influence_unlearning(p: Problem, v: Any) -> nn.Module:
    weights, forget, retain = list(p.model.parameters()), len(p.forget), len(p.retain)
    p.model.eval()

    def gradient(batch: Batch) -> Tensor:
        loss = cross_entropy(p.model(batch.images), batch.labels)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    def total(index: Tensor) -> Tensor:
        return sum(
            (len(b.labels) * gradient(b) for b in p.batches(index, 8, shuffle=False)),
            torch.zeros((), dtype=torch.float64),
        )

    step = total(p.forget) / (forget + retain) - forget / ((forget + retain) * retain) * total(p.retain)
    for number, sample in enumerate(p.batches(p.retain, 1, shuffle=False)):
        g = gradient(sample)
        if number == 0:
            direction = g
            continue
        scale = 1000 + direction @ g
        step, direction = step - (step @ g) / scale * direction, direction - (direction @ g) / scale * direction
    with torch.no_grad():
        for w, change in zip(weights, step.split([w.numel() for w in weights]), strict=True):
            w.add_(v.alpha * change.view(w.shape))
    return p.model


RESTATEMENTS = {
    function.__name__: function
    for function in (
        finetune,
        gradient_ascent,
        successive_random_labels,
        salun,
        neg_grad_plus,
        bad_teacher,
        scrub,
        cf_k,
        eu_k,
        fisher_forgetting,
        influence_unlearning,
    )
}
