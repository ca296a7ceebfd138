"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, TEST, VAL
from harness.engine.data import PartSamples
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.run import EpochRecord, Observer
from harness.engine.train import train
from harness.farm import Query
from harness.unit import Kind, Unit
from harness.work.attacked import Numbers, Signal, population_accuracy, population_signals, svc_mia
from harness.work.bench import Loaded, Parts, Workbench
from harness.work.setting import (
    Index,
    lender,
    make,
    new_run,
    on_the_clock,
    spec_of,
    starting_model,
    untrained,
    view_of,
)

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
    return Outcome(model, run.clock.stop(), run.steps, evaluate_parts(model, loaded, index), run.curves)


def run_method(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Run a method on its own copy of the original and evaluate the result on all parts of the scenario."""
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), bench.parts(unit.dataset, unit.scenario.name)
    silent = unit.kind in (Kind.TIMING, Kind.SEARCH)
    observe = None if silent else _observer(loaded, parts.index, parts.forget_classes)
    run, index = new_run(unit, bench, observe), seen(parts)
    run.lend = lender(unit, bench, run, loaded.data, index, parts.forget_classes)
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
    evaluations = evaluate_parts(model, loaded, {part: parts.index[part] for part in (RETAIN, FORGET, *held_out)})
    phase("attack")
    signals = population_signals(evaluations, loaded, parts, held_out)
    attacked: Numbers = {
        (part.value, "population_mia"): population_accuracy(signals[FORGET], signals[part]) for part in held_out
    }
    if unit.kind == Kind.SEARCH:
        return Outcome(model, seconds, run.steps, evaluations, numbers=attacked)
    asked: dict[tuple[str, Query], Signal] = {(part, "identity"): signal for part, signal in signals.items()}
    evaluations |= by_class(evaluations[TEST], loaded.labels[parts.split.of(TEST)], parts.forget_classes)
    numbers = {**attacked, **svc_mia(model, loaded, parts)}
    return Outcome(model, seconds, run.steps, evaluations, run.curves, asked, numbers)


def make_artifact(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Make what methods share, of the parts of the scenario; its outcome has what it recorded and showed."""
    phase("load")
    loaded, parts = bench.dataset(unit.dataset), bench.parts(unit.dataset, unit.scenario.name)
    run = new_run(unit, bench, lambda network: {}, lambda name: untrained(unit, bench))
    view = view_of(unit, loaded.data, seen(parts), run, parts.forget_classes)
    phase("make")
    network = make(unit, bench, run, view)
    return Outcome(network, run.clock.stop(), run.steps, curves=run.curves, sheets=run.sheets)


def seen(parts: Parts) -> Index:
    """Return the index of what a method may declare that it reads."""
    return {part: parts.index[part] for part in (RETAIN, FORGET, VAL)}


def _observer(loaded: Loaded, index: Mapping[str, torch.Tensor], forget_classes: tuple[int, ...] = ()) -> Observer:
    few = {part: positions[:CURVE_IMAGES] for part, positions in index.items()}
    labels = loaded.labels[few[TEST].cpu().numpy()]

    def observe(model: nn.Module) -> dict[str, float]:
        found = evaluate_parts(model, loaded, few)
        return {part: of.accuracy for part, of in (found | by_class(found[TEST], labels, forget_classes)).items()}

    return observe


def by_class(test: Evaluation, labels: NDArray[np.int64], forget_classes: tuple[int, ...]) -> dict[str, Evaluation]:
    """Cut the evaluation of test, with labels [n], at the classes to forget; nothing where there are none."""
    if not forget_classes:
        return {}
    forgotten = np.isin(labels, forget_classes)
    return {"test_retain": test.at(np.flatnonzero(~forgotten)), "test_forget": test.at(np.flatnonzero(forgotten))}


def evaluate_parts(model: nn.Module, loaded: Loaded, index: Mapping[str, torch.Tensor]) -> dict[str, Evaluation]:
    """Evaluate all parts in one pass and cut the result."""
    whole = evaluate(model, loaded.data, torch.cat(list(index.values())))
    results, start = {}, 0
    for part, positions in index.items():
        results[part] = whole.at(slice(start, start + len(positions)))
        start += len(positions)
    return results
