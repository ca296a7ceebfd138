"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, TEST, VAL, Part
from harness.contracts.scenario import Mask
from harness.engine.data import PartSamples
from harness.engine.evaluate import Evaluation, evaluate, log_probabilities
from harness.engine.features import features_of
from harness.engine.models import changed_share, finite
from harness.engine.run import EpochRecord, Observer
from harness.engine.train import train
from harness.farm import Query
from harness.metrics import ORIGINAL, macro_f1
from harness.metrics.entanglement import entanglement
from harness.unit import Kind, Unit
from harness.work import costs
from harness.work.attacked import Numbers, Signal, evenly, population_accuracy, population_signals, svc_mia
from harness.work.bench import Exam, Loaded, Parts, Workbench
from harness.work.evidence import parts_of
from harness.work.setting import (
    Index,
    artifact_of,
    lender,
    make,
    making_run,
    new_run,
    of_all,
    on_the_clock,
    spec_of,
    starting_model,
    view_of,
)

FORGOTTEN_BEFORE = "forgotten_before"
"""What the part that earlier requests have forgotten is called in results; no method sees it."""

RETAIN_IMAGES = 2000
"""Features of retain are looked at on at most this many images."""

CURVE_IMAGES = 512
"""Curves are drawn from at most this many images of each part."""


@dataclass
class Outcome:
    """What a unit found: its model, its evaluation by part, its curves, its cost, its signals by pool and query."""

    model: nn.Module
    seconds: float
    steps: int
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    curves: list[EpochRecord] = field(default_factory=list)
    signals: Mapping[tuple[str, Query], Signal] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=dict)
    """What else was measured, by part (`all`: of the model as a whole) and metric."""
    sheets: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Images [n, C, H, W] that were shown, pixels in [0, 1], by name."""


Phase = Callable[[str], None]


def train_original(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Train the original on all training images and evaluate it on train, val and test."""
    phase("load")
    loaded = bench.dataset(unit.dataset)
    index = {name: torch.from_numpy(positions).to(bench.device) for name, positions in loaded.whole().items()}
    curves = {"retain" if name == "train" else name: positions for name, positions in index.items()}
    run = new_run(unit, bench, _observer(loaded, curves))  # no scenario yet: all of train is retained
    samples = PartSamples(loaded.data, index["train"], run.generator)
    phase("train")
    model = on_the_clock(unit, run, lambda: train(run.initial_model(), samples, unit.recipe, run))
    phase("evaluate")
    found = evaluate_parts(model, loaded, index)
    numbers = examined(model, loaded.exam) if loaded.exam else {}
    return Outcome(model, run.clock.stop(), run.steps, found, run.curves, numbers=numbers)


def run_method(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Run a method on its own copy of the original and evaluate the result on all parts of the scenario."""
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), parts_of(unit, bench)
    silent = unit.kind in (Kind.TIMING, Kind.SEARCH)
    observe = None if silent else _observer(loaded, parts.index, _forgotten_of_test(parts))
    run, index = new_run(unit, bench, observe), seen(parts)
    training = torch.from_numpy(parts.split.train).to(bench.device)
    run.lend = lender(unit, bench, run, loaded.data, index, training, parts.forget_classes)
    view = view_of(unit, loaded.data, index, run, parts.forget_classes)
    method, model = spec_of(unit).create(unit.hyperparameters), starting_model(unit, bench)
    phase("unlearn")
    model = on_the_clock(unit, run, lambda: method.unlearn(model, view, run))
    seconds = run.clock.stop()
    if unit.kind == Kind.TIMING:
        return Outcome(model, seconds, run.steps, numbers={("all", "seconds"): seconds})
    phase("evaluate")
    # No choice of hyperparameters sees test.
    held_out = (VAL,) if unit.kind == Kind.SEARCH else (VAL, TEST)
    index_of = {part: parts.index[part] for part in (RETAIN, FORGET, *held_out)}
    evaluations = evaluate_parts(model, loaded, {**index_of, **_forgotten_before(parts, bench)})
    phase("attack")
    signals = population_signals(evaluations, parts, held_out)
    # What was manipulated differs from held-out images at sight: no attack on membership would say anything.
    attacked = {} if loaded.exam else _population(signals, held_out)
    if unit.kind == Kind.SEARCH:
        return Outcome(model, seconds, run.steps, evaluations, numbers=attacked)
    asked: dict[tuple[str, Query], Signal] = {(part, "identity"): signal for part, signal in signals.items()}
    evaluations |= by_class(evaluations[TEST], _forgotten_of_test(parts))
    attacked |= examined(model, loaded.exam) if loaded.exam else svc_mia(model, loaded, parts)
    scores = _macro_f1(evaluations[TEST], loaded.labels[parts.split.of(TEST)], loaded.spec.classes)
    numbers = {**attacked, **scores, **_changed(unit, bench, model), **costs.of_method(run)}
    if unit.method.name == ORIGINAL:
        numbers |= _entangled(unit, bench, model, loaded, parts)
    return Outcome(model, seconds, run.steps, evaluations, run.curves, asked, numbers)


def _population(signals: Mapping[str, Signal], held_out: tuple[Part, ...]) -> dict[tuple[str, str], float | None]:
    return {(part.value, "population_mia"): population_accuracy(signals[FORGET], signals[part]) for part in held_out}


def _macro_f1(test: Evaluation, labels: NDArray[np.int64], classes: int) -> Numbers:
    """Macro F1 on test, and what it is over chance; None for a model that has no answer."""
    score = None
    if test.answers is not None and np.isfinite(test.phi).all():
        score = macro_f1(test.answers, labels)
    return {("test", "f1"): score, ("test", "f1_over_chance"): None if score is None else score - 1 / classes}


def _entangled(unit: Unit, bench: Workbench, model: nn.Module, loaded: Loaded, parts: Parts) -> Numbers:
    """How entangled what is to be forgotten is with the rest, to an original that nobody has changed."""
    head, asked = bench.architecture(unit).head, (evenly(parts.index[RETAIN], RETAIN_IMAGES), parts.index[FORGET])
    retain, forget = (features_of(model, head, loaded.data, index).double().cpu().numpy() for index in asked)
    return {("all", "entanglement"): entanglement(retain, forget)}


def _changed(unit: Unit, bench: Workbench, model: nn.Module) -> Numbers:
    """How much of what it started from a method changed; nothing for one that starts anew."""
    if not unit.needs or unit.kind == Kind.RETRAIN:
        return {}
    changed = changed_share(model, bench.original(unit.needs[0])) if finite(model) else None
    return {("all", "changed_weights"): changed}


def _forgotten_before(parts: Parts, bench: Workbench) -> dict[str, torch.Tensor]:
    """Return the index of what earlier requests have forgotten, nothing where there was none."""
    earlier = torch.from_numpy(parts.split.earlier).to(bench.device)
    return {FORGOTTEN_BEFORE: earlier} if len(earlier) else {}


def make_artifact(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Make what methods share, of the parts of the scenario, or of the training where that is what it is of.

    Its outcome has what it recorded and showed.
    """
    phase("load")
    loaded, run = bench.dataset(unit.dataset), making_run(unit, bench, lambda network: {})
    if artifact_of(unit).of == "training":
        train, val = (torch.from_numpy(loaded.whole()[part]).to(bench.device) for part in ("train", "val"))
        view = view_of(unit, loaded.data, of_all(train, val), run)
    else:
        parts = parts_of(unit, bench)
        view = view_of(unit, loaded.data, seen(parts), run, parts.forget_classes)
    phase("make")
    network = make(unit, bench, run, view)
    numbers = costs.of_artifact(run, network)
    return Outcome(network, run.clock.stop(), run.steps, curves=run.curves, numbers=numbers, sheets=run.sheets)


def seen(parts: Parts) -> Index:
    """Return the index of what a method may declare that it reads."""
    return {part: parts.index[part] for part in (RETAIN, FORGET, VAL)}


def _observer(loaded: Loaded, index: Mapping[str, torch.Tensor], forgotten: Mask | None = None) -> Observer:
    few = {part: positions[:CURVE_IMAGES] for part, positions in index.items()}
    few_forgotten = None if forgotten is None else forgotten[:CURVE_IMAGES]

    def observe(model: nn.Module) -> dict[str, float]:
        found = evaluate_parts(model, loaded, few)
        return {part: of.accuracy for part, of in (found | by_class(found[TEST], few_forgotten)).items()}

    return observe


def _forgotten_of_test(parts: Parts) -> Mask | None:
    """Return which test images [n] are of the classes or the subclass to forget; None where it is neither."""
    return None if parts.asked_for is None else parts.asked_for[parts.split.of(TEST)]


def by_class(test: Evaluation, forgotten: Mask | None) -> dict[str, Evaluation]:
    """Cut the evaluation of test at what is `forgotten` [n]; nothing where that is None."""
    if forgotten is None:
        return {}
    return {"test_retain": test.at(np.flatnonzero(~forgotten)), "test_forget": test.at(np.flatnonzero(forgotten))}


def examined(model: nn.Module, exam: Exam) -> Numbers:
    """Return what the answers of a model to the images of an exam say."""
    everything = torch.arange(len(exam.data.labels), device=exam.data.device)
    answers = log_probabilities(model, exam.data, everything).argmax(axis=1)
    return dict(exam.tampering.numbers(exam.data.labels.cpu().numpy(), answers))


def evaluate_parts(model: nn.Module, loaded: Loaded, index: Mapping[str, torch.Tensor]) -> dict[str, Evaluation]:
    """Evaluate all parts in one pass and cut the result."""
    whole = evaluate(model, loaded.data, torch.cat(list(index.values())))
    results, start = {}, 0
    for part, positions in index.items():
        results[part] = whole.at(slice(start, start + len(positions)))
        start += len(positions)
    return results
