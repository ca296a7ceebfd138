"""Training and evaluation beside a bare loop and the usual loaders: `python tests/bench/engine.py [--device cuda]`.

1 where a limit is missed. The bare loop has the same network, batches and augmentation and does nothing else: it counts
no images, asks whether to stop nowhere, and keeps no curve. The usual path is torchvision's transforms on PIL images in
a DataLoader, in the process itself: on two cores two trials leave none for its workers.

On a CPU, seconds are those of the processor, of one thread: neighbours come and go. The things that are compared take
turns, and the quickest turn counts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from table import Line, publish
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, Images, Recipe
from harness.engine.data import DeviceData, PartSamples
from harness.engine.device import pick_device, prepare, synchronise
from harness.engine.evaluate import BATCH, evaluate
from harness.engine.models import build
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from harness.engine.train import train
from harness.engine.vision import torchvision

TURNS = 4
TRIALS = 2
BARE, DATA, USUAL = 0.95, 15.0, {"cpu": 1.3, "cuda": 3.0}
"""Limits: beside the bare loop; of batches alone beside the usual path; of two trials beside two of the usual ones."""
FORMAT = "cifar10"


@dataclass(frozen=True)
class Case:
    """A network, how many images of noise it sees in an epoch, and the batch."""

    architecture: str
    images: int
    batch: int

    @property
    def recipe(self) -> Recipe:
        return Recipe(epochs=1, batch_size=self.batch, lr=0.05)

    def __str__(self) -> str:
        return f"{self.architecture}, batches of {self.batch}"


CASES = {
    "cpu": (Case("cnn_small", 2_048, 64), Case("resnet18_cifar", 64, 16)),
    "cuda": (Case("cnn_small", 20_480, 256), Case("resnet18_cifar", 10_240, 256)),
}


def images(count: int) -> Images:
    """Return noise in the format of CIFAR-10."""
    spec, rng = DATASETS[FORMAT], np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, *spec.shape), np.uint8), rng.integers(0, spec.classes, count))


def model(case: Case, device: torch.device) -> nn.Module:
    return build(ARCHITECTURES[case.architecture], DATASETS[FORMAT], 0, device)


def samples(case: Case, device: torch.device) -> PartSamples:
    data = DeviceData.put(images(case.images), DATASETS[FORMAT], device)
    return PartSamples(data, torch.arange(case.images, device=device), generator("order", 0))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of some work: of the processor, or on a GPU by the clock."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronise(device)
    start = clock()
    work()
    synchronise(device)
    return clock() - start


def quickest(works: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """Return the seconds of each work, the quickest of some turns; the first turn warms up."""
    turns = [[seconds(work, device) for work in works] for _ in range(TURNS + 1)]
    return [min(found) for found in zip(*turns[1:], strict=True)]


def with_harness(case: Case, device: torch.device) -> None:
    """Train as an original is trained."""
    run = TrainingRun(
        seed=0,
        recipe=case.recipe,
        architecture=ARCHITECTURES[case.architecture],
        device=device,
        generator=generator("order", 0),
        draw_model=lambda name: model(case, device),
    )
    train(run.initial_model(), samples(case, device), case.recipe, run)


def on_batches(network: nn.Module, recipe: Recipe, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Train on batches: nothing that is not needed."""
    optimizer = SGD(network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    network.train()
    for pixels, labels in batches:
        loss = cross_entropy(network(pixels), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def bare(case: Case, device: torch.device) -> None:
    """Train on the same batches without the harness around them."""
    data, rng, padding = samples(case, device).data, torch.Generator().manual_seed(0), DATASETS[FORMAT].augmentation

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(case.images, generator=rng).to(device).split(case.batch):
            flips = (torch.rand(len(index), generator=rng) < 0.5).to(device)
            offsets = torch.randint(2 * padding.crop_padding + 1, (len(index), 2), generator=rng).to(device)
            yield data.batch(index, flips, offsets), data.labels[index]

    on_batches(model(case, device), case.recipe, batches())


def usual_loader(case: Case) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch of batches as most people load them."""
    from PIL import Image
    from torch.utils.data import DataLoader

    torchvision()
    from torchvision import transforms

    noise, spec = images(case.images), DATASETS[FORMAT]
    augmented = transforms.Compose(
        [
            transforms.RandomCrop(spec.shape[1], spec.augmentation.crop_padding),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )
    pixels = np.ascontiguousarray(noise.images.transpose(0, 2, 3, 1))

    class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
        """As torchvision's own: arrays in memory, an image made of each when it is asked for."""

        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, at: int) -> tuple[Tensor, int]:
            return augmented(Image.fromarray(pixels[at])), int(noise.labels[at])

    yield from DataLoader(Pictures(), case.batch, shuffle=True)


def usual(case: Case, device: torch.device) -> None:
    """Train on batches of the usual loader."""
    loaded = ((pixels.to(device), labels.to(device)) for pixels, labels in usual_loader(case))
    on_batches(model(case, device), case.recipe, loaded)


def evaluated(case: Case, device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return how we evaluate, and how a bare loop does: logits and what is right."""
    part, network = samples(case, device), model(case, device)
    index = torch.arange(case.images, device=device)

    def bare() -> None:
        network.eval()
        with torch.inference_mode():
            for chosen in index.split(BATCH):
                (network(part.data.batch(chosen)).argmax(1) == part.data.labels[chosen]).sum().item()

    return lambda: evaluate(network, part.data, index), bare


def trial(path: Callable[[Case, torch.device], None], case: Case, device: str) -> float:
    """Return the seconds of one trial, the second of two in this process."""
    prepare_here(device)
    path(case, torch.device(device))
    return seconds(lambda: path(case, torch.device(device)), torch.device(device))


def side_by_side(path: Callable[[Case, torch.device], None], case: Case, device: torch.device) -> float:
    """Return the seconds of the slower of two trials that run at the same time."""
    with multiprocessing.get_context("spawn").Pool(TRIALS) as pool:
        return max(pool.starmap(trial, [(path, case, str(device))] * TRIALS, chunksize=1))


def prepare_here(device: str) -> None:
    registry.load()
    prepare(torch.device(device))


def lines(device: torch.device) -> Iterator[Line]:
    """Yield what is measured on a device."""
    for case in CASES[device.type]:
        ours, other = quickest([lambda: with_harness(case, device), lambda: bare(case, device)], device)  # noqa: B023
        yield Line(f"training, x bare loop: {case}", other / ours, "x", BARE, at_least=True)
        ours, other = quickest(evaluated(case, device), device)
        yield Line(f"evaluation, x bare loop: {case}", other / ours, "x", BARE, at_least=True)
    case = CASES[device.type][0]
    part = samples(case, device)
    last_alone = partial(deque, maxlen=1)  # as a loop over them does
    paths = [lambda: last_alone(part.batches(case.batch, augment=True)), lambda: last_alone(usual_loader(case))]
    ours, other = quickest(paths, device)
    yield Line("batches alone, x DataLoader + PIL", other / ours, "x", DATA, at_least=True)
    theirs, own = side_by_side(usual, case, device), side_by_side(with_harness, case, device)
    yield Line(f"two trials, x two of DataLoader + PIL: {case}", theirs / own, "x", USUAL[device.type], at_least=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    device = pick_device(options.device)
    prepare_here(str(device))
    return publish(list(lines(device)), options.json)


if __name__ == "__main__":
    sys.exit(main())
