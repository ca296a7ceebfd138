"""What the work of a unit begins with: its run, what its method may see, what it starts from, what it may borrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from harness import registry
from harness.contracts.artifact import ARTIFACTS, ArtifactSpec, artifacts_of, named
from harness.contracts.dataset import DATASETS
from harness.contracts.method import METHODS, REFERENCE, VARIANT, MethodSpec
from harness.contracts.parts import RETAIN, VAL, Part
from harness.contracts.run import Diverged, Lent
from harness.contracts.space import Value
from harness.contracts.view import View
from harness.engine.data import DeviceData, PartSamples
from harness.engine.models import ruined
from harness.engine.run import Lender, Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.tally import Tally
from harness.unit import Kind, Named, Unit
from harness.work.bench import Workbench
from harness.work.contained import no_copies
from harness.work.returned import a_module
from harness.work.settings import kept

Index = Mapping[Part, torch.Tensor]
"""The index [n] of each part into the images."""


def spec_of(unit: Unit) -> MethodSpec:
    """Return the spec of a unit's method or artifact."""
    return artifact_of(unit) if unit.kind == Kind.ARTIFACT else registry.find(METHODS, unit.method.name)


def artifact_of(unit: Unit) -> ArtifactSpec:
    """Return the spec of the artifact that a unit of kind `artifact` makes."""
    return registry.find(ARTIFACTS, unit.method.name)


def view_of(unit: Unit, data: DeviceData, index: Index, run: TrainingRun, forget_classes: tuple[int, ...] = ()) -> View:
    """Return what a unit's method or artifact may see of the images of each part."""
    spec = spec_of(unit)
    even = unit.hyperparameters.get(VARIANT) != REFERENCE
    samples = {
        # A copy of the positions: the warm ones serve later units, and samples hand theirs out.
        part: PartSamples(data, positions.clone(), run.generator, even, Tally((part.value,), run.drawn))
        for part, positions in index.items()
    }
    dataset = registry.find(DATASETS, unit.dataset.name)
    return View(spec.name, spec.reads, samples, dataset.classes, dataset.format, forget_classes)


def starting_model(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the model that a method gets: its own copy of the original or shadow, which it cannot reach itself."""
    return with_weights(unit, bench, bench.original(unit.needs[0])) if unit.needs else bench.initial_model(unit)


def trial_model(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the model of the trial that a unit looks at, a copy of its own."""
    return stored_model(unit, bench, unit.needs[0])


def stored_model(unit: Unit, bench: Workbench, identity: str) -> nn.Module:
    """Return a copy of the model that one of a unit's needs left in the store."""
    return with_weights(unit, bench, bench.store.load_model(identity, str(bench.device)))


def with_weights(unit: Unit, bench: Workbench, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a network with the given weights: one of the unit's architecture, or of its method's own if they are."""
    model, spec = bench.initial_model(unit), spec_of(unit)
    if model.state_dict().keys() != state.keys() and hasattr(spec.cls, "network") and unit.kind != Kind.ARTIFACT:
        model = spec.cls(**spec.complete(unit.hyperparameters)).network(partial(bench.initial_model, unit))
    model.load_state_dict(state)
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


@contextmanager
def at_work(unit: Unit, device: torch.device) -> Iterator[None]:
    """Seed the work inside, and do it in the recipe's precision."""
    is_low = unit.recipe.precision == "bf16"
    # Without the cache: it keeps the bf16 weights of the first step until the block ends, many steps later.
    low = torch.autocast(device.type, torch.bfloat16, enabled=is_low, cache_enabled=False)
    # What the work changes in its process would be felt by whoever measures its model; two would measure it.
    with kept(), no_copies(), seeded("work", unit.stream, unit.method.name, unit.seed), low:
        yield


def on_the_clock(
    unit: Unit, run: TrainingRun, work: Callable[[], nn.Module], blank: Callable[[], nn.Module] | None = None
) -> nn.Module:
    """Do the work `at_work`, between two synchronisations of the device.

    Work that saw itself diverge leaves a model without a finite weight: a `blank` one, where that is not the run's.
    """
    with at_work(unit, run.device):
        run.clock.start()
        try:
            model = work()
        except Diverged:
            model = ruined((blank or run.initial_model)())
        run.clock.stop()
    return model


def untrained(unit: Unit, bench: Workbench) -> nn.Module:
    """Return the untrained network of a unit of kind `artifact`."""
    spec, images = artifact_of(unit), registry.find(DATASETS, unit.dataset.name).format
    made, builder = spec.cls(**unit.values), (partial(bench.initial_model, unit),) if spec.of == "training" else ()
    with seeded("initial weights", unit.method.name, unit.seed):
        network: nn.Module = made.network(images, *builder)
    return network.to(bench.device)


def making_run(unit: Unit, bench: Workbench, observe: Observer | None) -> TrainingRun:
    """Return the run that makes an artifact: one of a request draws its own network, others that of trials."""
    draws_own = artifact_of(unit).of == "request"
    return new_run(unit, bench, observe, (lambda name: untrained(unit, bench)) if draws_own else None)


def make(unit: Unit, bench: Workbench, run: TrainingRun, view: View) -> nn.Module:
    """Make the network of a unit of kind `artifact`, by the original or shadow that it needs if it is of a request."""
    spec, blank = artifact_of(unit), partial(untrained, unit, bench)
    made = spec.cls(**unit.values)
    given = () if spec.of == "training" else (starting_model(unit, bench).eval().requires_grad_(False),)
    network = on_the_clock(unit, run, lambda: made.make(blank(), *given, view, run), blank)
    return a_module(network, f"artifact {unit.method.name!r}")


def lender(
    unit: Unit,
    bench: Workbench,
    run: TrainingRun,
    data: DeviceData,
    index: Index,
    training: torch.Tensor,
    forget_classes: tuple[int, ...] = (),
) -> Lender:
    """Return what lends artifacts to a unit's method: those that it needs are in the store, others are made now.

    Needs come in the order in which the method, as it was planned, names its artifacts, behind the original. Steps of
    what is made now count as steps aside in the unit's run. `training` [n] is the index of what the method's original
    or shadow was trained on, for artifacts of the training: these are lent off the clock, and their steps not counted.
    """
    planned = artifacts_of(spec_of(unit).create(unit.values))
    stored = dict(zip(planned, unit.needs[1:], strict=False))

    def borrow(own: Unit, identity: str) -> nn.Module:
        network = untrained(own, bench)
        network.load_state_dict(bench.store.load_model(identity, str(bench.device)))
        return network

    def make_now(own: Unit, of_training: bool) -> nn.Module:
        making = making_run(own, bench, None)
        shown, named_classes = (of_all(training, index[VAL]), ()) if of_training else (index, forget_classes)
        try:
            return make(own, bench, making, view_of(own, data, shown, making, named_classes))
        finally:
            if not of_training:
                run.steps_aside += making.steps + making.steps_aside
                run.drawn.update(making.drawn)

    def lend(one: Lent) -> nn.Module:
        spec, values = named(one)
        own, of_training = _making(unit, spec, values), spec.of == "training"
        with run.clock.paused() if of_training else nullcontext():
            return borrow(own, stored[one]) if one in stored else make_now(own, of_training)

    return lend


def of_all(training: torch.Tensor, val: torch.Tensor) -> Index:
    """Return the index of what an artifact of the training may declare that it reads: nothing is forgotten yet."""
    return {RETAIN: training, VAL: val}


def _making(unit: Unit, spec: ArtifactSpec, values: dict[str, Value]) -> Unit:
    """Return the unit that makes an artifact for another unit; one of the training knows of no request."""
    scenario = Named("", 0) if spec.of == "training" else unit.scenario
    method = Named(spec.name, spec.version)
    return replace(unit, kind=Kind.ARTIFACT, scenario=scenario, method=method, values=values, drawn=None)
