"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import registry
from harness.attacks import AttackError, loss_from_phi, population_mia
from harness.contracts.method import METHODS, REFERENCE, VARIANT
from harness.contracts.parts import FORGET, RETAIN, TEST, VAL, Part
from harness.contracts.view import View
from harness.engine.data import DeviceData, PartSamples
from harness.engine.evaluate import Evaluation, evaluate
from harness.engine.run import EpochRecord, Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.train import train
from harness.farm import Query
from harness.unit import Kind, Unit
from harness.work.bench import Loaded, Parts, Workbench

CURVE_IMAGES = 512
"""Curves are drawn from at most this many images of each part."""


@dataclass(frozen=True)
class Signal:
    """phi [n] of the images of a pool, and which of them [n] the model was made to forget (or was trained on).

    Where `known` [n] is false, the image is in neither world of an audit: it was retained. None: all are in one.
    """

    phi: NDArray[np.float64]
    member: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None


@dataclass
class Outcome:
    """What a unit found: its model, its evaluation by part, its curves, its cost, its signals by pool and query."""

    model: nn.Module
    seconds: float
    steps: int
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    curves: list[EpochRecord] = field(default_factory=list)
    population_mia: Mapping[str, float | None] = field(default_factory=dict)
    signals: Mapping[tuple[str, Query], Signal] = field(default_factory=dict)


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
    observe = None if unit.kind in (Kind.TIMING, Kind.SEARCH) else _observer(loaded, parts.index)
    run, view, model = _prepare(unit, bench, loaded, parts, observe)
    method = registry.find(METHODS, unit.method.name).create(unit.hyperparameters)
    phase("unlearn")
    model = on_the_clock(unit, run, lambda: method.unlearn(model, view, run))
    seconds = run.clock.stop()
    if unit.kind == Kind.TIMING:
        return Outcome(model, seconds, run.steps)
    phase("evaluate")
    # No choice of hyperparameters sees test.
    held_out = (VAL,) if unit.kind == Kind.SEARCH else (VAL, TEST)
    evaluations = evaluate_parts(model, loaded, {part: parts.index[part] for part in (RETAIN, FORGET, *held_out)})
    phase("attack")
    signals = _signals(evaluations, loaded, parts, held_out)
    attacked = {part.value: _population_mia(signals[FORGET], signals[part]) for part in held_out}
    if unit.kind == Kind.SEARCH:
        return Outcome(model, seconds, run.steps, evaluations, population_mia=attacked)
    asked: dict[tuple[str, Query], Signal] = {(part, "identity"): signal for part, signal in signals.items()}
    return Outcome(model, seconds, run.steps, evaluations, run.curves, attacked, asked)


def _prepare(
    unit: Unit, bench: Workbench, loaded: Loaded, parts: Parts, observe: Observer | None
) -> tuple[TrainingRun, View, nn.Module]:
    run = new_run(unit, bench, observe)
    index = {part: parts.index[part] for part in (RETAIN, FORGET, VAL)}
    view = view_of(unit, loaded.data, index, run, loaded.spec.classes, parts.forget_classes)
    return run, view, starting_model(unit, bench)


def view_of(
    unit: Unit,
    data: DeviceData,
    index: Mapping[Part, torch.Tensor],
    run: TrainingRun,
    classes: int,
    forget_classes: tuple[int, ...] = (),
) -> View:
    """Return what a unit's method may see of the images at the index [n] of each part."""
    spec = registry.find(METHODS, unit.method.name)
    even = unit.hyperparameters.get(VARIANT) != REFERENCE
    samples = {part: PartSamples(data, positions, run.generator, even) for part, positions in index.items()}
    return View(spec.name, spec.reads, samples, classes, forget_classes)


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
    """Do the work seeded, in the recipe's precision, between two synchronisations of the device."""
    is_low = unit.recipe.precision == "bf16"
    # Without the cache: it keeps the bf16 weights of the first step until the block ends, many steps later.
    low = torch.autocast(run.device.type, torch.bfloat16, enabled=is_low, cache_enabled=False)
    with seeded("work", unit.stream, unit.method.name, unit.seed), low:
        run.clock.start()
        model = work()
        run.clock.stop()
    return model


def _signals(
    evaluations: Mapping[str, Evaluation], loaded: Loaded, parts: Parts, held_out: tuple[Part, ...]
) -> dict[str, Signal]:
    """Return what the population attack tells apart: forget (the members), and the images of the held-out parts.

    Where whole classes are forgotten, held-out images are those of the same classes: else class difficulty would pass
    for membership.
    """
    forget = evaluations[FORGET].phi
    signals = {FORGET.value: Signal(forget, np.ones(len(forget), dtype=bool))}
    for part in held_out:
        phi = evaluations[part].phi
        if parts.forget_classes:
            phi = phi[np.isin(loaded.labels[parts.split.of(part)], parts.forget_classes)]
        signals[part.value] = Signal(phi, np.zeros(len(phi), dtype=bool))
    return signals


def _population_mia(members: Signal, others: Signal) -> float | None:
    """Return the accuracy of the population attack; None where it has no value."""
    try:
        return population_mia(loss_from_phi(members.phi), loss_from_phi(others.phi))
    except AttackError:  # diverged losses, or a class with too few held-out images
        return None


def _observer(loaded: Loaded, index: Mapping[str, torch.Tensor]) -> Observer:
    few = {part: positions[:CURVE_IMAGES] for part, positions in index.items()}

    def observe(model: nn.Module) -> dict[str, float]:
        return {part: result.accuracy for part, result in evaluate_parts(model, loaded, few).items()}

    return observe


def evaluate_parts(model: nn.Module, loaded: Loaded, index: Mapping[str, torch.Tensor]) -> dict[str, Evaluation]:
    """Evaluate all parts in one pass and cut the result."""
    whole = evaluate(model, loaded.data, torch.cat(list(index.values())))
    results, start = {}, 0
    for part, positions in index.items():
        results[part] = whole.at(slice(start, start + len(positions)))
        start += len(positions)
    return results
