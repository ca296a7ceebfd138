"""A learning problem of 48 + 16 images on which a method runs in milliseconds, and the runs themselves.

Everything follows from fixed seeds. The images are horizontal bands under noise, so mirroring them and moving them by
one pixel keeps the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from harness import registry
from harness.contracts import (
    ARCHITECTURES,
    FORGET,
    METHODS,
    REFERENCE,
    RETAIN,
    SCENARIOS,
    TEST,
    VAL,
    VARIANT,
    Augmentation,
    DatasetSpec,
    Images,
    MethodSpec,
    Part,
    Recipe,
    View,
)
from harness.contracts.artifact import named
from harness.contracts.run import Lent
from harness.contracts.scenario import Training
from harness.contracts.space import ShareOfTraining, Value
from harness.engine.data import DeviceData, PartSamples
from harness.engine.models import build
from harness.engine.run import Observer, TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.split import split
from harness.engine.train import train

CPU = torch.device("cpu")
CLASSES = 4
COUNT, DEVELOPMENT = 64, 48

Parts = Mapping[Part, Tensor]


def read(files: Mapping[str, bytes]) -> Images:
    """Bright bands of two rows under noise; the band is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    pixels = rng.integers(0, 128, (COUNT, 3, 8, 8))
    for label in range(CLASSES):
        pixels[labels == label, :, 2 * label : 2 * label + 2] += 80
    return Images(pixels.astype(np.uint8), labels.astype(np.int64))


SPEC = DatasetSpec(
    name="tiny",
    read=read,
    classes=CLASSES,
    shape=(3, 8, 8),
    development=DEVELOPMENT,
    test=COUNT - DEVELOPMENT,
    mean=(0.3, 0.35, 0.4),
    std=(0.2, 0.25, 0.3),
    files={},
    recipe=Recipe(epochs=2, batch_size=24, lr=0.05),
    augmentation=Augmentation(crop_padding=1, flip=True),
    version=1,
    source="tests",
)


@cache
def images() -> Images:
    """Return the images of the problem."""
    return read({})


@cache
def data(dtype: torch.dtype = torch.float32) -> DeviceData:
    """Return the images on the CPU; batches come in the given precision."""
    mean = torch.tensor(SPEC.mean, dtype=dtype).view(1, -1, 1, 1)
    std = torch.tensor(SPEC.std, dtype=dtype).view(1, -1, 1, 1)
    return replace(DeviceData.put(images(), SPEC, CPU), scale=1 / (255 * std), shift=-mean / std)


@cache
def parts(scenario: str) -> Parts:
    """Return the index of every part under a scenario."""
    divided = split(Training(images().labels), DEVELOPMENT, registry.parse_scenario(scenario))
    return {part: torch.from_numpy(divided.of(part)) for part in Part}


@cache
def uneven_parts() -> Parts:
    """Return parts with 26 images to retain and 14 to forget: several batches of both, not equally many."""
    train_index = torch.cat([parts("random:0.1")[RETAIN], parts("random:0.1")[FORGET]])
    return {**parts("random:0.1"), RETAIN: train_index[:26], FORGET: train_index[26:]}


def scenario_for(spec: MethodSpec) -> str:
    """Return a random scenario for a method that supports one, or else an example of what it does support."""
    registry.load()
    return next(SCENARIOS[name].example for name in ("random", *SCENARIOS) if spec.supports(name))


def initial(architecture: str, seed: int = 0, name: str = "") -> nn.Module:
    """Return the untrained model of a seed, or another one that has a name."""
    registry.load()
    return build(ARCHITECTURES[architecture], SPEC, seed, CPU, name)


@dataclass
class Stop:
    """Tells a run to stop once it has asked `after` times."""

    after: float
    asked: int = 0

    def __call__(self) -> bool:
        """Count the question and answer it."""
        self.asked += 1
        return self.asked > self.after


def new_run(
    architecture: str = "cnn_small",
    seed: int = 0,
    observe: Observer | None = None,
    stop: Stop | None = None,
    recipe: Recipe = SPEC.recipe,
) -> TrainingRun:
    """Return a run of the problem, as the harness makes one for a unit."""
    registry.load()
    return TrainingRun(
        seed=seed,
        recipe=recipe,
        architecture=ARCHITECTURES[architecture],
        device=CPU,
        generator=generator("order", seed),
        draw_model=lambda name: initial(architecture, seed, name),
        observe=observe,
        should_stop=stop or (lambda: False),
    )


@cache
def original(architecture: str) -> nn.Module:
    """Return the original of seed 0, trained by the recipe; take a copy with `own_copy`."""
    run = new_run(architecture)
    index = torch.cat([parts("random:0.1")[RETAIN], parts("random:0.1")[FORGET]])
    return train(run.initial_model(), PartSamples(data(), index, run.generator), SPEC.recipe, run)


def own_copy(architecture: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of the original, as a method gets it."""
    return deepcopy(original(architecture)).to(dtype)


class Poison:
    """Stands for a part that must not be read: whatever is done with it fails."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"an undeclared part was read: {name}")

    def __len__(self) -> int:
        raise AssertionError("the length of an undeclared part was read")


def view(
    spec: MethodSpec,
    run: TrainingRun,
    index: Parts,
    source: DeviceData,
    even: bool = True,
    forget_classes: tuple[int, ...] = (),
) -> View:
    """Return what the method may see; the parts that it did not declare, and test, are poison."""
    seen: dict[Part, Any] = {part: Poison() for part in (RETAIN, FORGET, VAL, TEST)}
    seen |= {part: PartSamples(source, index[part], run.generator, even) for part in spec.reads}
    return View(spec.name, spec.reads, seen, CLASSES, SPEC.format, forget_classes)


def quick(spec: MethodSpec, epochs: int = 2, batch_size: int = 24) -> dict[str, Value]:
    """Return hyperparameters for a short run: few epochs and small batches, everything else at its default.

    Whatever else is counted in epochs (a second phase, say) is 1; an epoch that is no pass over data has 2 rounds, and
    a GAN 2 steps.
    """
    values: dict[str, Value] = {}
    for name, range_ in spec.space.items():
        if isinstance(range_.high, ShareOfTraining):
            values[name] = range_.type(epochs if name == "epochs" else 1)
        elif name in ("rounds", "gan_steps"):
            values[name] = 2
        elif range_.type is int and range_.options:
            values[name] = batch_size
    return spec.checked(values)


def unlearn(
    method: str,
    run: TrainingRun,
    index: Parts,
    values: Mapping[str, Value],
    *,
    model: nn.Module | None = None,
    architecture: str = "cnn_small",
    source: DeviceData | None = None,
    forget_classes: tuple[int, ...] | None = None,
) -> nn.Module:
    """Run a registered method as the harness does and return its model.

    `forget_classes` are by default those of a scenario that the method supports.
    """
    registry.load()
    spec, images = METHODS[method], source or data()
    classes = registry.parse_scenario(scenario_for(spec)).forget_classes if forget_classes is None else forget_classes
    seen = view(spec, run, index, images, values.get(VARIANT) != REFERENCE, classes)
    run.lend = lambda one: _made(one, run, index, images, classes)
    with seeded("work", method, run.seed):
        return spec.create(values).unlearn(model or own_copy(architecture), seen, run)


def _made(one: Lent, run: TrainingRun, index: Parts, source: DeviceData, forget_classes: tuple[int, ...]) -> nn.Module:
    """Return the network of an artifact, made for one run; what it records and shows is not the run's."""
    spec, _ = named(one)
    own = replace(run, generator=generator("order", spec.name, run.seed), observe=None, steps=0, steps_aside=0)
    made: Any = one
    try:
        with seeded("work", spec.name, run.seed):
            if spec.of == "training":
                whole = {**index, RETAIN: torch.cat([index[RETAIN], index[FORGET]]).sort().values}
                network = made.network(SPEC.format, own.untrained_model)
                network = made.make(network, view(spec, own, whole, source), own)
            else:
                seen, judge = (
                    view(spec, own, index, source, forget_classes=forget_classes),
                    own_copy(run.architecture.name),
                )
                network = made.make(made.network(SPEC.format), judge.eval(), seen, own)
        return cast("nn.Module", network)
    finally:
        run.steps_aside += own.steps + own.steps_aside


@contextmanager
def optimizer_steps() -> Iterator[list[float]]:
    """Collect the learning rate of every optimiser step that is taken inside, by whomever."""
    rates: list[float] = []

    def note(optimizer: Optimizer, *_: object) -> None:
        rates.append(float(optimizer.param_groups[0]["lr"]))

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield rates
    finally:
        handle.remove()


@contextmanager
def seen_by(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect every batch of images that the model is given inside."""
    batches: list[Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].detach().clone()))
    try:
        yield batches
    finally:
        handle.remove()


def positions_of(batch: Tensor, source: DeviceData) -> list[int]:
    """Return which images of the problem (not augmented) the images of a batch are; fails for any other image."""
    known = {image.numpy().tobytes(): i for i, image in enumerate(source.batch(torch.arange(COUNT)))}
    return [known[image.contiguous().numpy().tobytes()] for image in batch]
