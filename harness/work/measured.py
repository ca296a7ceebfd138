"""What is measured of a model on the parts of a data set; nothing here trains or writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, TEST, Part
from harness.contracts.scenario import Mask
from harness.engine.evaluate import Evaluation, evaluate, log_probabilities
from harness.engine.features import features_of
from harness.engine.models import changed_share, finite
from harness.engine.run import Observer
from harness.metrics import ORIGINAL, macro_f1
from harness.metrics.entanglement import entanglement
from harness.unit import Kind, Unit
from harness.work.attacked import Numbers, Signal, evenly, population_accuracy, population_signals, svc_mia
from harness.work.bench import Exam, Loaded, Parts, Workbench

FORGOTTEN_BEFORE = "forgotten_before"
"""What the part that earlier requests have forgotten is called in results; no method sees it."""

RETAIN_IMAGES = 2000
"""Features of retain are looked at on at most this many images."""

CURVE_IMAGES = 512
"""Curves are drawn from at most this many images of each part."""

Phase = Callable[[str], None]


@dataclass(frozen=True)
class Judged:
    """What was found on a model: its evaluation by part, the signal phi of what was attacked, numbers."""

    evaluations: Mapping[str, Evaluation]
    signals: Mapping[str, Signal]
    numbers: Numbers


def judge(model: nn.Module, loaded: Loaded, parts: Parts, held_out: tuple[Part, ...], phase: Phase) -> Judged:
    """Evaluate a model on retain, forget and what is held out, and attack it there."""
    phase("evaluate")
    index = {part.value: parts.index[part] for part in (RETAIN, FORGET, *held_out)}
    evaluations = evaluate_parts(model, loaded, index | _forgotten_before(parts))
    phase("attack")
    signals = population_signals(evaluations, parts, held_out)
    # What was manipulated differs from held-out images at sight: no attack on membership would say anything.
    numbers = {} if loaded.exam else _population(signals, held_out)
    if TEST not in held_out:
        return Judged(evaluations, signals, numbers)
    attacked = examined(model, loaded.exam) if loaded.exam else svc_mia(model, loaded, parts)
    scores = _macro_f1(evaluations[TEST], loaded.labels[parts.split.of(TEST)], loaded.spec.classes)
    numbers = {**numbers, **attacked, **scores}
    return Judged(evaluations | by_class(evaluations[TEST], forgotten_of_test(parts)), signals, numbers)


def of_trial(unit: Unit, bench: Workbench, model: nn.Module, parts: Parts) -> Numbers:
    """Return how much a method changed of what it started from; of `original` how entangled the forget set is."""
    changed = _changed(unit, bench, model)
    entangled = _entangled(unit, bench, model, parts) if unit.method.name == ORIGINAL else {}
    return {**changed, **entangled}


def observer(loaded: Loaded, index: Mapping[str, torch.Tensor], forgotten: Mask | None = None) -> Observer:
    """Return what draws curves: accuracy on a few images of each part, and of test by what is `forgotten` [n]."""
    few = {part: positions[:CURVE_IMAGES] for part, positions in index.items()}
    few_forgotten = None if forgotten is None else forgotten[:CURVE_IMAGES]

    def observe(model: nn.Module) -> dict[str, float]:
        found = evaluate_parts(model, loaded, few)
        return {part: of.accuracy for part, of in (found | by_class(found[TEST], few_forgotten)).items()}

    return observe


def evaluate_parts(model: nn.Module, loaded: Loaded, index: Mapping[str, torch.Tensor]) -> dict[str, Evaluation]:
    """Evaluate all parts in one pass and cut the result."""
    whole = evaluate(model, loaded.data, torch.cat(list(index.values())))
    results, start = {}, 0
    for part, positions in index.items():
        results[part] = whole.at(slice(start, start + len(positions)))
        start += len(positions)
    return results


def by_class(test: Evaluation, forgotten: Mask | None) -> dict[str, Evaluation]:
    """Cut the evaluation of test at what is `forgotten` [n]; nothing where that is None."""
    if forgotten is None:
        return {}
    return {"test_retain": test.at(np.flatnonzero(~forgotten)), "test_forget": test.at(np.flatnonzero(forgotten))}


def forgotten_of_test(parts: Parts) -> Mask | None:
    """Return which test images [n] are of the classes or the subclass to forget; None where it is neither."""
    return None if parts.asked_for is None else parts.asked_for[parts.split.of(TEST)]


def examined(model: nn.Module, exam: Exam) -> Numbers:
    """Return what the answers of a model to the images of an exam say."""
    everything = torch.arange(len(exam.data.labels), device=exam.data.device)
    answers = log_probabilities(model, exam.data, everything).argmax(axis=1)
    return dict(exam.tampering.numbers(exam.data.labels.cpu().numpy(), answers))


def _population(signals: Mapping[str, Signal], held_out: tuple[Part, ...]) -> dict[tuple[str, str], float | None]:
    return {(part.value, "population_mia"): population_accuracy(signals[FORGET], signals[part]) for part in held_out}


def _macro_f1(test: Evaluation, labels: NDArray[np.int64], classes: int) -> Numbers:
    """Macro F1 on test, and what it is over chance; None for a model that has no answer."""
    score = None
    if test.answers is not None and np.isfinite(test.phi).all():
        score = macro_f1(test.answers, labels)
    return {("test", "f1"): score, ("test", "f1_over_chance"): None if score is None else score - 1 / classes}


def _entangled(unit: Unit, bench: Workbench, model: nn.Module, parts: Parts) -> Numbers:
    """How entangled what is to be forgotten is with the rest, to an original that nobody has changed."""
    head, asked = bench.architecture(unit).head, (evenly(parts.index[RETAIN], RETAIN_IMAGES), parts.index[FORGET])
    data = bench.dataset(unit.dataset).data
    retain, forget = (features_of(model, head, data, index).double().cpu().numpy() for index in asked)
    return {("all", "entanglement"): entanglement(retain, forget)}


def _changed(unit: Unit, bench: Workbench, model: nn.Module) -> Numbers:
    """How much of what it started from a method changed; nothing for one that starts anew."""
    if not unit.needs or unit.kind == Kind.RETRAIN:
        return {}
    changed = changed_share(model, bench.original(unit.needs[0])) if finite(model) else None
    return {("all", "changed_weights"): changed}


def _forgotten_before(parts: Parts) -> dict[str, torch.Tensor]:
    """Return the index of what earlier requests have forgotten, nothing where there was none."""
    earlier = torch.from_numpy(parts.split.earlier).to(parts.index[RETAIN].device)
    return {FORGOTTEN_BEFORE: earlier} if len(earlier) else {}
