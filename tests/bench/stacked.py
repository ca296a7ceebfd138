"""Seconds a shadow where a worker trains k at once: `python tests/bench/stacked.py [--device cuda] [--json FILE]`.

1 where what is trained at once is not what is trained alone, or where on CUDA eight at once are not faster than one
after the other. One is trained by the loop that every training goes through, k by the stacked one, each on its half of
images of noise, as large as those of the data set. No gain is expected on a CPU, which has enough to do with one.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from table import Line, publish

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, Images, Recipe
from harness.engine.data import DeviceData, PartSamples
from harness.engine.device import describe, pick_device, prepare, synchronise
from harness.engine.models import build
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from harness.engine.stacked import Member, train_together
from harness.engine.train import train

AT_ONCE = (1, 2, 4, 8, 16)
REPEATS = 3
DIGITS = 6
"""In which weights and buffers agree after an epoch in double precision; rounding leaves more."""

Trained = Callable[[Sequence[Member], Recipe], None]


@dataclass(frozen=True)
class Case:
    """A network, the data set whose format it sees, how many images each of them has, and the recipe."""

    architecture: str
    dataset: str
    images: int
    recipe: Recipe

    def __str__(self) -> str:
        return f"{self.architecture}, {self.dataset}, {self.recipe.precision}"


def one_by_one(members: Sequence[Member], recipe: Recipe) -> None:
    for one in members:
        train(one.model, one.samples, recipe, one.run)


def members(case: Case, count: int, device: torch.device, dtype: torch.dtype = torch.float32) -> list[Member]:
    """Return untrained networks, each with images of its own."""
    spec, architecture = DATASETS[case.dataset], ARCHITECTURES[case.architecture]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2 * case.images, *spec.shape), dtype=np.uint8)
    data = DeviceData.put(Images(pixels, rng.integers(0, spec.classes, len(pixels))), spec, device)
    data = replace(data, scale=data.scale.to(dtype), shift=data.shift.to(dtype))
    found = []
    for seed in range(count):
        run = TrainingRun(
            seed=seed,
            recipe=case.recipe,
            architecture=architecture,
            device=device,
            generator=generator("order", seed),
            draw_model=lambda name, seed=seed: build(architecture, spec, seed, device).to(dtype),  # type: ignore[misc]
        )
        inside = torch.from_numpy(np.flatnonzero(np.random.default_rng([1, seed]).random(len(pixels)) < 0.5))
        found.append(Member(run.initial_model(), PartSamples(data, inside.to(device), run.generator), run))
    return found


def seconds(case: Case, count: int, device: torch.device, trained: Trained) -> float:
    """Return the seconds of one training of so many networks, without their making."""
    given = members(case, count, device)
    low = torch.autocast(device.type, torch.bfloat16, enabled=case.recipe.precision == "bf16", cache_enabled=False)
    synchronise(device)
    start = time.perf_counter()
    with low:
        trained(given, case.recipe)
    synchronise(device)
    return time.perf_counter() - start


def digits(case: Case, count: int, device: torch.device) -> float:
    """Return in how many digits the weights and buffers of networks trained at once are those of each alone."""
    small = replace(case, images=3 * case.recipe.batch_size, recipe=replace(case.recipe, epochs=1, precision="fp32"))
    alone, at_once = (members(small, count, device, torch.float64) for _ in range(2))
    one_by_one(alone, small.recipe)
    train_together(at_once, small.recipe)
    most = max(
        float((found[name].double() - own.double()).norm() / own.double().norm().clamp(min=1e-9))
        for one, other in zip(at_once, alone, strict=True)
        for found in [one.model.state_dict()]
        for name, own in other.model.state_dict().items()
    )
    return -math.log10(max(most, 1e-16))


def lines(case: Case, device: torch.device) -> list[Line]:
    """Return seconds a shadow by how many are trained at once, the gain of eight, and whether they are the same."""
    taken: dict[int, list[float]] = {count: [] for count in AT_ONCE}
    for repeat in range(REPEATS + 1):
        for count, found in taken.items():  # one after the other, so that all see what else the machine does
            own = seconds(case, count, device, one_by_one if count == 1 else train_together) / count
            if repeat:  # the first warms up
                found.append(own)
    best = {count: min(found) for count, found in taken.items()}
    gain = 1.0 if device.type == "cuda" else 0.0
    return [
        *(Line(f"a shadow, {count} at once: {case}", best[count], "s", 0, at_least=True) for count in AT_ONCE),
        Line(f"8 at once / 1: {case}", best[1] / best[8], "x", gain, at_least=True),
        Line(
            f"digits that agree: {case}", min(digits(case, n, device) for n in AT_ONCE[1:]), "", DIGITS, at_least=True
        ),
    ]


def cases(device: torch.device) -> list[Case]:
    """Return what is measured on a device."""
    if device.type == "cpu":
        return [Case("cnn_small", "digits", 700, Recipe(epochs=2, batch_size=64, lr=0.05))]
    recipes = [Recipe(epochs=2, batch_size=256, precision=precision) for precision in ("fp32", "bf16")]
    networks = [("cnn_small", 20_000), ("allcnn", 5_000), ("resnet18_cifar", 5_000)]
    return [Case(name, "cifar10", images, recipe) for name, images in networks for recipe in recipes]


def main() -> int:
    """Measure, print, and say whether the limits were kept."""
    parser = argparse.ArgumentParser(description="Seconds a shadow where several are trained at once.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    device = pick_device(given.device)
    prepare(device)
    registry.load()
    print(describe(device))
    return publish([line for case in cases(device) for line in lines(case, device)], given.json)


if __name__ == "__main__":
    raise SystemExit(main())
