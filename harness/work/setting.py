"""What the work of a unit begins with: its run, what its method may see, what it starts from, what it may borrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from harness import registry
from harness.contracts.artifact import ARTIFACTS, artifacts_of, named
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS, REFERENCE, VARIANT, MethodSpec
from harness.contracts.parts import Part
from harness.contracts.run import Artifact, Diverged
from harness.contracts.view import View
from harness.engine.data import DeviceData, PartSamples
from harness.engine.models import ruined
from harness.engine.run import Lender, Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.unit import Kind, Named, Unit
from harness.work.bench import Workbench

Index = Mapping[Part, torch.Tensor]
"""The index [n] of each part into the images."""


def spec_of(unit: Unit) -> MethodSpec:
    """Return the spec of a unit's method or artifact."""
    return registry.find(ARTIFACTS if unit.kind == Kind.ARTIFACT else METHODS, unit.method.name)


def view_of(unit: Unit, data: DeviceData, index: Index, run: TrainingRun, forget_classes: tuple[int, ...] = ()) -> View:
    """Return what a unit's method or artifact may see of the images of each part."""
    spec = spec_of(unit)
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


def trial_model(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the model of the trial that a unit looks at, a copy of its own."""
    model = bench.initial_model(unit)
    model.load_state_dict(bench.store.load_model(unit.needs[0], str(bench.device)))
    return model


def new_run(
    unit: Unit, bench: Workbench, observe: Observer | None, draw_model: Callable[[str], nn.Module] | None = None
) -> TrainingRun:
    """Return the run of a unit; `draw_model` gives other networks than untrained ones of its architecture."""
    return TrainingRun(
        seed=unit.seed,
        recipe=unit.recipe,
        architecture=bench.architecture(unit),
        device=bench.device,
        generator=generator("order", unit.stream, unit.method.name, unit.seed),
        draw_model=draw_model or (lambda name: bench.initial_model(unit, name)),
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


def untrained(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the untrained network of a unit of kind `artifact`."""
    made: Artifact = spec_of(unit).cls(**unit.values)
    with seeded("initial weights", unit.method.name, unit.seed):
        network = made.network(registry.find(DATASETS, unit.dataset.name).format)
    return network.to(bench.device)


def make(unit: Unit, bench: Workbench, run: TrainingRun, view: View) -> nn.Module:
    """Make the network of a unit of kind `artifact`, by the original or shadow that it needs."""
    made: Artifact = spec_of(unit).cls(**unit.values)
    judge = starting_model(unit, bench).eval().requires_grad_(False)
    return on_the_clock(unit, run, lambda: made.make(run.initial_model(), judge, view, run))


def lender(
    unit: Unit, bench: Workbench, run: TrainingRun, data: DeviceData, index: Index, forget_classes: tuple[int, ...] = ()
) -> Lender:
    """Return what lends artifacts to a unit's method: those that it needs are in the store, others are made now.

    Needs come in the order in which the method, as it was planned, names its artifacts, behind the original. Steps of
    what is made now count as steps aside in the unit's run.
    """
    planned = artifacts_of(spec_of(unit).create(unit.values))
    stored = dict(zip(planned, unit.needs[1:], strict=False))

    def lend(one: Artifact) -> nn.Module:
        spec, values = named(one)
        own = replace(unit, kind=Kind.ARTIFACT, method=Named(spec.name, spec.version), values=values, drawn=None)
        if one in stored:
            network = untrained(own, bench)
            network.load_state_dict(bench.store.load_model(stored[one], str(bench.device)))
            return network
        making = new_run(own, bench, None, lambda name: untrained(own, bench))
        try:
            return make(own, bench, making, view_of(own, data, index, making, forget_classes))
        finally:
            run.steps_aside += making.steps + making.steps_aside

    return lend
