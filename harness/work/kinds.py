"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import registry
from harness.attacks import AttackError, Outputs, loss_from_phi, outputs, population_mia, svc_efficacy
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS, REFERENCE, VARIANT
from harness.contracts.parts import FORGET, RETAIN, TEST, VAL, Part
from harness.contracts.run import Diverged
from harness.contracts.view import View
from harness.engine.data import DeviceData, PartSamples
from harness.engine.evaluate import Evaluation, evaluate, log_probabilities
from harness.engine.models import ruined
from harness.engine.run import EpochRecord, Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.train import train
from harness.farm import Query
from harness.unit import Kind, Unit
from harness.work.bench import Loaded, Parts, Workbench

CURVE_IMAGES = 512
"""Curves are drawn from at most this many images of each part."""
SVC_IMAGES = 2000
"""SVC-MIA is fitted on, and asked about, at most this many images of each part: its time grows with their square."""


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
    efficacies: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    """What SVC-MIA says of a part, by part and metric."""
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    """What else was measured of the model as a whole, by metric."""


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
    evaluations |= by_class(evaluations[TEST], loaded.labels[parts.split.of(TEST)], parts.forget_classes)
    efficacies = mia_efficacies(model, loaded, parts)
    return Outcome(model, seconds, run.steps, evaluations, run.curves, attacked, asked, efficacies)


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


def mia_efficacies(model: nn.Module, loaded: Loaded, parts: Parts) -> dict[tuple[str, str], float | None]:
    """Return M-conf (share called non-members) and M-ent (share called members) of the forget set.

    The attacker is fitted on retain and test images of the same classes. Where whole classes are forgotten it has seen
    none of them, and rather tells classes apart than members: hence the same of the test images of these classes.
    """
    test = parts.index[TEST]
    index = {"forget": parts.index[FORGET], "retain": parts.index[RETAIN], "test": test}
    if parts.forget_classes:
        classes = torch.tensor(parts.forget_classes, device=test.device)
        index["test_forget"] = test[torch.isin(loaded.data.labels[test], classes)]
    try:
        says = {part: _outputs(part, model, loaded, positions) for part, positions in index.items()}
        return {
            (part, metric): share
            for part in ("forget", "test_forget")
            if part in says
            for metric, share in _called(says["retain"], says["test"], says[part]).items()
        }
    except AttackError:  # a diverged model, or no image of some part
        return {("forget", "mia_confidence"): None, ("forget", "mia_entropy"): None}


def _called(retain: Outputs, test: Outputs, part: Outputs) -> dict[str, float]:
    confidence, _ = svc_efficacy(retain, test, part, "confidence", refits=0)
    entropy, _ = svc_efficacy(retain, test, part, "entropy", refits=0)
    return {"mia_confidence": confidence, "mia_entropy": 1 - entropy}


def _outputs(part: str, model: nn.Module, loaded: Loaded, index: torch.Tensor) -> Outputs:
    """Return what a model says of at most `SVC_IMAGES` images, evenly spaced among the given ones."""
    few = index[:: max(1, -(-len(index) // SVC_IMAGES))]
    labels = loaded.labels[few.cpu().numpy()]
    return outputs(part, log_probabilities(model, loaded.data, few), labels, log=True)


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
