"""What each kind of unit does, up to the numbers; nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from harness.contracts.parts import FORGET, RETAIN, TEST, VAL
from harness.engine.data import PartSamples
from harness.engine.evaluate import Evaluation
from harness.engine.run import EpochRecord
from harness.engine.train import train
from harness.farm import Query
from harness.unit import Kind, Unit
from harness.work import costs
from harness.work.attacked import Numbers, Signal
from harness.work.bench import Parts, Workbench
from harness.work.evidence import parts_of
from harness.work.measured import Phase, evaluate_parts, examined, forgotten_of_test, judge, observer, of_trial
from harness.work.returned import of_its_method
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


def train_original(unit: Unit, bench: Workbench, phase: Phase) -> Outcome:
    """Train the original on all training images and evaluate it on train, val and test."""
    phase("load")
    loaded = bench.dataset(unit.dataset)
    index = {name: torch.from_numpy(positions).to(bench.device) for name, positions in loaded.whole().items()}
    curves = {"retain" if name == "train" else name: positions for name, positions in index.items()}
    run = new_run(unit, bench, observer(loaded, curves))  # no scenario yet: all of train is retained
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
    observe = None if silent else observer(loaded, parts.index, forgotten_of_test(parts))
    run, index = new_run(unit, bench, observe), seen(parts)
    training = torch.from_numpy(parts.split.train).to(bench.device)
    run.lend = lender(unit, bench, run, loaded.data, index, training, parts.forget_classes)
    view = view_of(unit, loaded.data, index, run, parts.forget_classes)
    method, model = spec_of(unit).create(unit.hyperparameters), starting_model(unit, bench)
    phase("unlearn")
    model = of_its_method(on_the_clock(unit, run, lambda: method.unlearn(model, view, run)), unit, bench)
    seconds = run.clock.stop()
    if unit.kind == Kind.TIMING:
        return Outcome(model, seconds, run.steps, numbers={("all", "seconds"): seconds})
    if unit.kind == Kind.SEARCH:
        # No choice of hyperparameters sees test.
        judged = judge(model, loaded, parts, (VAL,), phase)
        return Outcome(model, seconds, run.steps, judged.evaluations, numbers=judged.numbers)
    judged = judge(model, loaded, parts, (VAL, TEST), phase)
    asked: dict[tuple[str, Query], Signal] = {(part, "identity"): signal for part, signal in judged.signals.items()}
    numbers = {**judged.numbers, **of_trial(unit, bench, model, parts), **costs.of_method(run)}
    return Outcome(model, seconds, run.steps, judged.evaluations, run.curves, asked, numbers)


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
