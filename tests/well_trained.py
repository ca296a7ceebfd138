"""A network that is right about nearly all images of the tiny problem: that of two epochs is not, about most."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Part
from harness.engine.data import PartSamples
from harness.engine.train import train


def well_trained() -> nn.Module:
    """Return a copy of a cnn_small after 20 epochs on all training images, in float64."""
    return deepcopy(_trained()).double()


def accuracy(model: nn.Module, parts: tiny.Parts, part: Part) -> float:
    """Return the accuracy in eval mode on a part of the problem."""
    with torch.no_grad():
        answers: Tensor = model.eval()(tiny.data(torch.float64).batch(parts[part])).argmax(1)
    return float((answers == tiny.data().labels[parts[part]]).double().mean())


@cache
def _trained() -> nn.Module:
    recipe = replace(tiny.SPEC.recipe, epochs=20)
    run = tiny.new_run(recipe=recipe)
    index = torch.cat([tiny.parts("random:0.1")[RETAIN], tiny.parts("random:0.1")[FORGET]])
    return train(run.initial_model(), PartSamples(tiny.data(), index, run.generator), recipe, run)
