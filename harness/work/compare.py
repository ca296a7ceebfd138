"""What a unit of kind `compare` does: how alike the model of a trial and its retrain are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, TEST
from harness.engine.data import DeviceData
from harness.engine.evaluate import log_probabilities
from harness.engine.features import features_of
from harness.metrics.compared import FEATURE_PARTS, LIKENESS_PARTS
from harness.metrics.likeness import (
    activation_distance,
    agreement,
    js_divergence,
    js_divergence_published,
    layer_distances,
    linear_cka,
    rf_divergence,
    zrf,
)
from harness.unit import Unit
from harness.work.attacked import Numbers, evenly
from harness.work.bench import Workbench
from harness.work.evidence import parts_of
from harness.work.kinds import Outcome
from harness.work.measured import Phase
from harness.work.setting import new_run, stored_model, trial_model

Floats = NDArray[np.float64]

RETAIN_IMAGES = 2000
"""Models are compared on at most this many images of retain."""
UNTRAINED = 5
"""So many untrained networks are what a model's answers are held against for its ZRF: one alone says what it is."""


@dataclass(frozen=True)
class Compared:
    """What models are compared on: the images, the index [n] of each part into them, the name of the head."""

    data: DeviceData
    index: Mapping[str, torch.Tensor]
    head: str


def compare_trial(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Compare the model of the unit's trial with a retrain; both, then the original, are the first of its needs.

    All images without augmentation, all models in evaluation mode and full precision. The seconds are those of
    evaluating and comparing.
    """
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), parts_of(unit, bench)
    run = new_run(unit, bench, None)
    model = trial_model(unit, bench)
    retrain, original = (stored_model(unit, bench, need) for need in unit.needs[1:3])
    untrained = [run.untrained_model(f"untrained {number}") for number in range(UNTRAINED)]
    index = {**parts.index, RETAIN.value: evenly(parts.index[RETAIN], RETAIN_IMAGES)}
    compared = Compared(loaded.data, index, bench.architecture(unit).head)
    phase("compare")
    run.clock.start()
    numbers = likeness(model, retrain, original, untrained, compared)
    return Outcome(model, run.clock.stop(), 0, numbers=numbers)


def likeness(
    model: nn.Module, retrain: nn.Module, original: nn.Module, untrained: list[nn.Module], compared: Compared
) -> Numbers:
    """Return all numbers by part and metric, NaN where there is none; no model is changed."""
    own, other = ({part: _probabilities(one, compared, part) for part in LIKENESS_PARTS} for one in (model, retrain))
    numbers: dict[tuple[str, str], float | None] = {}
    for part in LIKENESS_PARTS:
        numbers |= {(part, name): value for name, value in _of_answers(own[part], other[part]).items()}
    random = [_probabilities(one, compared, FORGET) for one in untrained]
    numbers |= {
        (FORGET.value, name): value for name, value in _of_untrained(own[FORGET], other[FORGET], random).items()
    }
    before = {part: _probabilities(original, compared, part) for part in (RETAIN, TEST)}
    labels, unseen = (compared.data.labels[compared.index[part]].cpu().numpy() for part in (FORGET, TEST))
    numbers["all", "rf_divergence"] = rf_divergence(own[FORGET], labels, before[TEST], unseen)
    numbers[RETAIN.value, "churn"] = 1 - agreement(own[RETAIN], before[RETAIN])
    whole, by_layer = layer_distances(_weights(model), _weights(retrain))
    numbers |= {("all", "layer_distance"): whole, ("all", "layer_distance_mean"): by_layer}
    for part in FEATURE_PARTS:
        numbers |= {(part, name): value for name, value in _of_features(model, retrain, compared, part).items()}
    return numbers


def _of_features(model: nn.Module, retrain: nn.Module, compared: Compared, part: str) -> dict[str, float]:
    """Nothing is known of a method's own network, which has no head of the architecture's name."""
    if compared.head not in dict(model.named_modules()):
        return {"cka": math.nan, "images_per_feature": math.nan}
    features = _features(model, compared, part)
    return {
        "cka": linear_cka(features, _features(retrain, compared, part)),
        "images_per_feature": len(features) / features.shape[1],
    }


def _of_answers(own: Floats, other: Floats) -> dict[str, float]:
    return {
        "js_divergence": js_divergence(own, other),
        "js_divergence_published": js_divergence_published(own, other),
        "activation_distance": activation_distance(own, other),
        "completeness": agreement(own, other),
    }


def _of_untrained(own: Floats, other: Floats, untrained: list[Floats]) -> dict[str, float]:
    score = zrf(own, untrained)
    return {
        "zrf": score,
        "zrf_gap": abs(score - zrf(other, untrained)),
        "zrf_published": zrf(own, untrained, js_divergence_published),
    }


def _probabilities(model: nn.Module, compared: Compared, part: str) -> Floats:
    return np.exp(log_probabilities(model, compared.data, compared.index[part]))


def _weights(model: nn.Module) -> dict[str, Floats]:
    return {name: one.detach().double().cpu().numpy() for name, one in model.named_parameters()}


def _features(model: nn.Module, compared: Compared, part: str) -> Floats:
    """Return what the head is given for the images of a part, [n, d]."""
    found = features_of(model, compared.head, compared.data, compared.index[part])
    return found.double().cpu().numpy()
