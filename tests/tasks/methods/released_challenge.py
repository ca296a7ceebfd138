"""What the released code does for the seven methods of the NeurIPS 2023 challenge, in plain loops; see `released`."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from released import HEAD, SGD, Problem, cosine, divergence, optimiser, uniform
from released_literature import finetune
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from harness.check import problem as tiny
from harness.engine.weights import add_noise, reset_parameters


def fcs(p: Problem, v: Any) -> nn.Module:
    weights = list(p.model.parameters())
    flat = SGD(weights, v.lr, v.momentum, v.weight_decay)
    keep = SGD(weights, v.retain_lr * v.batch_size / 64, v.momentum, v.retain_weight_decay)
    forget = SGD(weights, v.forget_lr, v.momentum, v.forget_weight_decay)
    rounds, done = math.ceil(len(p.forget) / v.batch_size) * v.epochs, 0
    p.model.train()
    for x, _, _ in p.batches(p.forget, v.batch_size):
        flat.step(-(math.log(tiny.CLASSES) + log_softmax(p.model(x), 1)).mean(1).mean())
    for _ in range(v.epochs):
        for forgotten, kept in zip(p.batches(p.forget, v.batch_size), p.batches(p.retain, v.batch_size), strict=False):
            forget.lr = cosine(done, rounds, v.forget_lr, v.eta_min)
            logits = p.model(forgotten.images)
            similarity = logits @ p.model(kept.images).detach().T / v.temperature
            forget.step(-log_softmax(similarity, -1).mean())
            done += 1
        for x, y, _ in p.batches(p.retain, v.batch_size):
            keep.step(cross_entropy(p.model(x), y))
    return p.model


def msg(p: Problem, v: Any) -> nn.Module:
    sample = p.retain[torch.randperm(len(p.retain), generator=p.order)[: len(p.forget)]]
    weights = list(p.model.parameters())
    gradients = {id(w): torch.zeros_like(w) for w in weights}
    p.model.train()
    for sign, index, size in ((1, sample, 64), (-1, p.forget, v.batch_size)):
        for x, y, _ in p.batches(index, size):
            for w, g in zip(weights, torch.autograd.grad(cross_entropy(p.model(x), y), weights), strict=True):
                gradients[id(w)] += sign * g
    masks = {id(w): torch.ones_like(w) for w in weights}
    for layer in p.model.modules():
        if isinstance(layer, nn.Conv2d):
            w = layer.weight
            smallest = gradients[id(w)].abs().flatten().argsort()[: round(v.init_rate * w.numel())]
            redrawn = torch.zeros(w.numel(), dtype=torch.bool).index_fill(0, smallest, True).view(w.shape)
            deviation = math.sqrt(2 / (w.shape[0] * w[0, 0].numel()))
            fresh = torch.empty(w.shape).normal_(0, deviation, generator=p.order).double()
            w.data[redrawn] = fresh[redrawn]
            masks[id(w)] = torch.where(redrawn, 1.0, 0.1).double()
    descent, top, end = optimiser(p, v), (v.epochs + 1) // 2, v.epochs + 1
    for epoch in range(1, v.epochs + 1):
        descent.lr = v.lr * (epoch / top if epoch <= top else (end - epoch) / (end - top))
        for x, y, _ in p.batches(p.retain, v.batch_size):
            descent.step(cross_entropy(p.model(x), y), [masks[id(w)] for w in weights])
    return p.model


def cfw(p: Problem, v: Any) -> nn.Module:
    def confuse(deviation: float) -> None:
        for name, child in p.model.named_children():
            if "conv" in name:
                add_noise(child.weight, deviation, p.order)

    counts = Counter(torch.from_numpy(tiny.images().labels)[p.retain].tolist())
    balance = {label: len(p.retain) / (len(counts) * count) for label, count in counts.items()}
    descent = optimiser(p, v)
    confuse(v.start_std)
    p.model.train()
    for epoch in range(v.epochs):
        descent.lr = cosine(epoch, v.epochs, v.lr)
        for x, y, _ in p.batches(p.retain, v.batch_size):
            descent.step(cross_entropy(p.model(x), y) * np.mean([balance[label] for label in y.tolist()]))
        if epoch == v.epochs - 2:
            confuse(v.final_std)
    return p.model


def prmq(p: Problem, v: Any) -> nn.Module:
    good, layers = p.teacher(), [m for m in p.model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    pruned = [w.data for layer in layers for w in (layer.weight, layer.bias) if w is not None]
    size = torch.cat([w.flatten() for w in pruned]).abs()
    kept = torch.ones_like(size)
    kept[size.argsort()[: round(v.prune * len(size))]] = 0
    for w, mask in zip(pruned, kept.split([w.numel() for w in pruned]), strict=True):
        w.mul_(mask.view(w.shape))
    for layer in layers:
        w = layer.weight.data
        bound = 1 / math.sqrt(w[0].numel())
        w.copy_(torch.where(w == 0, uniform(w.shape, bound, p.order).double(), w))

    counts = torch.from_numpy(tiny.images().labels)[p.retain].bincount(minlength=tiny.CLASSES).double()
    class_weights = torch.where(counts > 0, counts**-0.1, 0.0)

    def entropy(logits: Tensor) -> Tensor:
        return -(softmax(logits, 1) * log_softmax(logits, 1)).sum(1)

    descent, iterations = optimiser(p, v), int(math.ceil(len(p.retain) / v.batch_size) * v.epochs) + 1
    p.model.train()
    passes = chain.from_iterable(p.batches(p.retain, v.batch_size) for _ in count())
    for x, y, _ in islice(passes, iterations):
        found, weight = p.model(x), class_weights[y]
        loss = (weight * cross_entropy(found, y, reduction="none")).sum() / weight.sum()
        descent.step(loss + ((entropy(found) - entropy(good(x).detach())) ** 2).mean())
    for tensor in p.model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return p.model


def ct(p: Problem, v: Any) -> nn.Module:
    for layer in p.model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.copy_(layer.weight.data.transpose(2, 3).clone())
    return finetune(p, v)


def kde(p: Problem, v: Any) -> nn.Module:
    good = p.teacher()
    children = dict(p.model.named_children())
    if "conv1" in children:
        reset_parameters(children["conv1"], p.order)
    reset_parameters(p.layer(HEAD[p.architecture]), p.order)
    descent = optimiser(p, v)
    p.model.train()
    for _ in range(v.epochs):
        for x, _, _ in p.batches(p.val, v.batch_size, shuffle=False):
            descent.step(divergence(p.model(x), good(x).detach(), v.temperature))
    descent = SGD(list(p.model.parameters()), v.retain_lr, v.momentum, v.retain_weight_decay)
    for epoch in range(v.retain_epochs):
        descent.lr = cosine(epoch, v.retain_epochs, v.retain_lr)
        for x, y, _ in p.batches(p.retain, v.batch_size):
            found, wanted = p.model(x), good(x).detach()
            soft = -(softmax(wanted / v.temperature, 1) * log_softmax(found / v.temperature, 1)).sum(1).mean()
            descent.step(soft + cross_entropy(found, y) + divergence(found, wanted, v.temperature))
    return p.model


def rni(p: Problem, v: Any) -> nn.Module:
    reset_parameters(p.layer(HEAD[p.architecture]), p.order)
    weights, noisy = dict(p.model.named_parameters()), set[str]()
    others = [name for name in weights if "bn" not in name]
    p.model.train()
    for epoch in range(v.epochs):
        if epoch >= v.epochs - v.fine_epochs:
            descent = SGD(list(weights.values()), v.fine_lr, v.momentum, v.fine_weight_decay)
        else:
            chosen = [others[i] for i in torch.randperm(len(others), generator=p.order)[: v.layers]]
            if epoch >= v.reset_epochs:
                for i in torch.randperm(len(chosen), generator=p.order)[: int(v.noise_ratio * len(chosen))]:
                    if chosen[i] not in noisy:
                        add_noise(weights[chosen[i]], v.noise_std, p.order)
                    noisy.add(chosen[i])
            trained = [weight for name, weight in weights.items() if "bn" in name or name in chosen]
            descent = SGD(trained, v.lr, v.momentum, v.weight_decay)
        for x, y, _ in p.batches(p.retain, v.batch_size):
            descent.step(cross_entropy(p.model(x), y))
    return p.model


RESTATEMENTS = {function.__name__: function for function in (fcs, msg, cfw, prmq, ct, kde, rni)}
