"""What a unit of kind `probe` does: it looks for what is left in a trial's model of what it was made to forget."""

from __future__ import annotations

import copy
import math
from statistics import fmean, median

import torch
from torch import Tensor, nn

from harness.contracts.parts import FORGET, RETAIN, TEST
from harness.engine.data import DeviceData
from harness.engine.features import features_of
from harness.engine.information import fisher_trace
from harness.engine.linear_head import accuracy_of, scale_of, shots_of_each, train_head
from harness.engine.models import finite
from harness.engine.recovery import DRAWS, divided, possible, relearned, shaken
from harness.engine.relearn import accuracy
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from harness.metrics.probed import AFTER, FEW, PROBE_METRICS, SHOTS
from harness.unit import Unit
from harness.work.attacked import evenly
from harness.work.bench import Loaded, Parts, Workbench
from harness.work.evidence import parts_of
from harness.work.kinds import Outcome
from harness.work.measured import Phase
from harness.work.setting import new_run, trial_model

ASKED_IMAGES = 2000
"""Accuracies of many models are on at most this many images of a part, evenly spaced."""
FISHER_IMAGES = 200
"""Gradients of single images are of at most this many of the forget set, evenly spaced."""


def probe_trial(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Probe copies of the model of the unit's trial, in full precision; the model itself is only read.

    Which images are shown, what noise is drawn and what a head begins with are the same for every method of a cell and
    seed. A model that is not finite has no numbers. The seconds and the steps are those of probing.
    """
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), parts_of(unit, bench)
    model, run = trial_model(unit, bench), new_run(unit, bench, None)
    key = ("probe", unit.scenario.name, unit.seed)
    numbers: dict[tuple[str, str], float | None] = {("all", metric): None for metric in PROBE_METRICS}
    phase("probe")
    run.clock.start()
    if finite(model):
        found = {
            **relearn_curve(model, loaded.data, parts.index[FORGET], run, key),
            **knowledge_retention(model, bench.architecture(unit).head, loaded, parts, run, key),
            "noise_recovery": after_noise(model, loaded.data, parts.index[FORGET], key),
            "epistemic_efficacy": efficacy(model, loaded.data, parts.index[FORGET]),
        }
        numbers |= {("all", metric): value for metric, value in found.items()}
    return Outcome(model, run.clock.stop(), run.steps, numbers=numbers)


def relearn_curve(
    model: nn.Module, data: DeviceData, forget: Tensor, run: TrainingRun, key: tuple[str | int, ...]
) -> dict[str, float]:
    """Return the accuracy on forget images that are never shown, after so many others were, and the mean over these."""
    may_be_shown, unused = divided(forget, SHOTS, generator(*key, "shown"))
    asked = evenly(unused, ASKED_IMAGES)
    curve = {
        shots: accuracy(relearned(model, data, may_be_shown[:shots], run), data, asked)
        for shots in possible(SHOTS, len(forget))
    }
    return {AFTER.format(shots): value for shots, value in curve.items()} | {"relearn_curve": fmean(curve.values())}


def knowledge_retention(
    model: nn.Module, head: str, loaded: Loaded, parts: Parts, run: TrainingRun, key: tuple[str | int, ...]
) -> dict[str, float]:
    """Return what new heads on the model's features reach on forget and retain, trained on all images and on a few.

    Nothing where the model has no linear head of that name.
    """
    if not isinstance(dict(model.named_modules()).get(head), nn.Linear):
        return {}
    data, train = loaded.data, torch.from_numpy(parts.split.left).to(loaded.data.device)
    features, labels = features_of(model, head, data, train), data.labels[train]
    scale = scale_of(features)
    few = shots_of_each(labels, FEW, generator(*key, "few"))
    asked = {part: (features_of(model, head, data, index) / scale, data.labels[index]) for part, index in _asked(parts)}
    found: dict[str, float] = {}
    for name, chosen in (("knowledge_retention", slice(None)), (f"knowledge_retention_{FEW}_shot", few)):
        new = train_head(features[chosen] / scale, labels[chosen], loaded.spec.classes, generator(*key, "head"), run)
        found |= {f"{name}_{part}": accuracy_of(new, *images) for part, images in asked.items()}
    return found


def _asked(parts: Parts) -> list[tuple[str, Tensor]]:
    """Return what heads are asked about: test images by class where classes are forgotten, else forget and test."""
    test = parts.index[TEST]
    if parts.asked_for is None:
        return [(FORGET.value, evenly(parts.index[FORGET], ASKED_IMAGES)), (RETAIN.value, test)]
    is_asked = torch.from_numpy(parts.asked_for[parts.split.of(TEST)]).to(test.device)
    return [(FORGET.value, test[is_asked]), (RETAIN.value, test[~is_asked])]


def after_noise(model: nn.Module, data: DeviceData, forget: Tensor, key: tuple[str | int, ...]) -> float:
    """Return the median over draws of noise of the accuracy on the forget set."""
    asked, draws = evenly(forget, ASKED_IMAGES), generator(*key, "noise")
    return median(accuracy(shaken(model, draws), data, asked) for _ in range(DRAWS))


def efficacy(model: nn.Module, data: DeviceData, forget: Tensor) -> float:
    """Return one over the trace of the Fisher information on the forget set; NaN where that is 0 or has no value."""
    trace = fisher_trace(copy.deepcopy(model), data, evenly(forget, FISHER_IMAGES))
    return 1 / trace if trace > 0 else math.nan
