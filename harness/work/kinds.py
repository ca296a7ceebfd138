"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import registry
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS, REFERENCE, VARIANT
from harness.contracts.parts import FORGET, RETAIN, TEST, VAL, Part
from harness.contracts.run import Diverged
from harness.contracts.view import View
from harness.engine.data import DeviceData, PartSamples
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.models import ruined
from harness.engine.run import EpochRecord, Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.train import train
from harness.farm import Query
from harness.unit import Kind, Unit
from harness.work.attacked import Numbers, Signal, population_accuracy, population_signals, svc_mia
from harness.work.bench import Loaded, Parts, Workbench

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
    run, view, model = _prepare(unit, bench, loaded, parts, observe)
    method = registry.find(METHODS, unit.method.name).create(unit.hyperparameters)
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


def _prepare(
    unit: Unit, bench: Workbench, loaded: Loaded, parts: Parts, observe: Observer | None
) -> tuple[TrainingRun, View, nn.Module]:
    run = new_run(unit, bench, observe)
    index = {part: parts.index[part] for part in (RETAIN, FORGET, VAL)}
    view = view_of(unit, loaded.data, index, run, parts.forget_classes)
    return run, view, starting_model(unit, bench)


def view_of(
    unit: Unit,
    data: DeviceData,
    index: Mapping[Part, torch.Tensor],
    run: TrainingRun,
    forget_classes: tuple[int, ...] = (),
) -> View:
    """Return what a unit's method may see of the images at the index [n] of each part."""
    spec = registry.find(METHODS, unit.method.name)
    even = unit.hyperparameters.get(VARIANT) != REFERENCE
    samples = {part: PartSamples(data, positions, run.generator, even) for part, positions in index.items()}
    dataset = registry.find(DATASETS, unit.dataset.name)
    return View(spec.name, spec.reads, samples, dataset.classes, dataset.format, forget_classes)


def starting_model(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the model that a method gets: its own copy of the original or shadow, which it cannot reach itself."""
    model = bench.initial_model(unit)
    if unit.needs:
        model.load_state_dict(bench.original(unit.needs[0]))
    return model


def new_run(unit: Unit, bench: Workbench, observe: Observer | None) -> TrainingRun:
    return TrainingRun(
        seed=unit.seed,
        recipe=unit.recipe,
        architecture=bench.architecture(unit),
        device=bench.device,
        generator=generator("order", unit.stream, unit.method.name, unit.seed),
        draw_model=lambda name: bench.initial_model(unit, name),
        observe=observe,
    )


def on_the_clock(unit: Unit, run: TrainingRun, work: Callable[[], nn.Module]) -> nn.Module:
    """Do the work seeded, in the recipe's precision, between two synchronisations of the device.

    Work that saw itself diverge leaves a model without a finite weight.
    """
    is_low = unit.recipe.precision == "bf16"
    # Without the cache: it keeps the bf16 weights of the first step until the block ends, many steps later.
    low = torch.autocast(run.device.type, torch.bfloat16, enabled=is_low, cache_enabled=False)
    with seeded("work", unit.stream, unit.method.name, unit.seed), low:
        run.clock.start()
        try:
            model = work()
        except Diverged:
            model = ruined(run.initial_model())
        run.clock.stop()
    return model


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
