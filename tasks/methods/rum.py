"""RUM: cut the images to forget by how well they are known, and unlearn each part by a method that suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts import FORGET, METHODS, RETAIN, Run, Samples, View, choice, method
from harness.contracts.space import Value
from harness.engine.evaluate import BATCH
from harness.engine.features import still
from tasks.methods._batches import nothing_to_forget


class Stage(NamedTuple):
    """The method of one part, with the hyperparameters that differ from its defaults; "" leaves the model alone."""

    method: str
    values: Mapping[str, Value] = MappingProxyType({})


PRESETS: Mapping[str, Sequence[Stage]] = MappingProxyType(
    {
        "nothing_finetune_salun": (Stage(""), Stage("finetune"), Stage("salun")),
        "neg_grad_plus_x3": (
            Stage("neg_grad_plus", {"alpha": 0.99, "lr": 0.01, "epochs": 5}),
            Stage("neg_grad_plus", {"alpha": 0.97, "lr": 0.01, "epochs": 5}),
            Stage("neg_grad_plus", {"alpha": 0.97, "lr": 0.001, "epochs": 10}),
        ),
        "none": (Stage("salun"),),
    }
)
"""What is done with each part, from the least memorised one on."""


@method(reads={RETAIN, FORGET}, scenarios={"random"}, source="Zhao et al. 2024, NeurIPS, arXiv 2406.01257, RUM")
class RUM:
    """Cut forget into parts from low to high memorisation, and unlearn them in turn, each by a method of its own.

    `preset` names the methods: nothing, then `finetune`, then `salun`; `neg_grad_plus` three times with the published
    alpha, rate and epochs; or, under `none`, `salun` on forget as a whole. What is not published is the method's
    default. An image whose true class the original gives a low probability, in eval mode, counts as memorised: a proxy
    that needs no further training; the paper trains hundreds of models for the score itself. The parts hold equally
    many images, up to one. A part's method sees that part as forget and this run's retain: parts that are done, or
    have their turn later, are in neither. The modes and BatchNorm's statistics are the methods' own. Raise the version
    of this method with theirs.
    """

    preset: str = choice(*PRESETS, default="nothing_finetune_salun")

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after the last part; the original where there is nothing to forget."""
        if nothing_to_forget(data):
            return model
        stages = PRESETS[self.preset]
        parts = cut(hardness(model, data.forget, run), len(stages))
        for stage, part in zip(stages, parts, strict=True):
            if stage.method and len(part):
                model = unlearn_part(stage, model, data, data.forget.take(part), run)
        return model


def unlearn_part(stage: Stage, model: nn.Module, data: View, part: Samples, run: Run) -> nn.Module:
    """Return the model after a part's method, which sees what both it and this method may read."""
    spec = METHODS[stage.method]
    own = replace(data, method=spec.name, reads=spec.reads & data.reads, parts={RETAIN: data.retain, FORGET: part})
    return spec.create(stage.values).unlearn(model, own, run)


def hardness(model: nn.Module, samples: Samples, run: Run) -> Tensor:
    """Return -log of the probability of each image's true class [n], float64, in eval mode and full precision."""
    found = []
    with still(model, run.device):
        for images, labels, _ in samples.batches(BATCH, shuffle=False):
            run.check()
            found.append(cross_entropy(model(images).double(), labels, reduction="none"))
    return torch.cat(found)


def cut(hard: Tensor, count: int) -> list[Tensor]:
    """Return the positions of each of `count` parts, from the easiest images on, ascending within a part.

    A part has as many images as another, up to one. Of fewer images than parts the outer ones get theirs first: of two
    one is the easiest and one the hardest; a single one is in the middle. Of equal images the first is the easier.
    """
    images = len(hard)
    ranks = torch.empty(images, dtype=torch.int64, device=hard.device)
    ranks[hard.argsort(stable=True)] = torch.arange(images, device=hard.device)
    part = count * (2 * ranks + 1) // (2 * max(1, images))  # of the middle of an image's place among all
    return [(part == number).nonzero().flatten() for number in range(count)]
