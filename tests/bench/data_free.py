"""Speed of the data-free loop beside a bare loop: `python tests/bench/data_free.py [--device cuda] [--json FILE]`.

1 where a limit is missed. Both take the same generator and student steps of ISPF on the same networks. The bare loop
does what the formulas need and nothing else: no notes, no count, no question whether to stop.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from table import Line, publish
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax
from torch.optim import SGD, Adam

from harness import registry
from harness.contracts import ARCHITECTURES, DATASETS, METHODS, ArchitectureSpec, DatasetSpec, View
from harness.engine.models import build
from harness.engine.run import TrainingRun

EPOCHS, ROUNDS, STUDENT_STEPS, REPEATS = 4, 5, 10, 3
FORGET, THRESHOLD = 3, 0.01
SLOWEST = 0.9
"""The harness is at least so many times as fast."""

Loop = Callable[[DatasetSpec, ArchitectureSpec, int, torch.device], None]


def with_harness(dataset: DatasetSpec, architecture: ArchitectureSpec, batch: int, device: torch.device) -> None:
    """Run method `ispf` as a timing unit does."""
    values = {"epochs": EPOCHS, "warm_up": 0, "rounds": ROUNDS, "student_steps": STUDENT_STEPS, "batch_size": batch}
    run = TrainingRun(
        seed=0,
        recipe=dataset.recipe,
        architecture=architecture,
        device=device,
        generator=torch.Generator().manual_seed(0),
        draw_model=lambda name: build(architecture, dataset, 0, device, name),
    )
    view = View("ispf", frozenset(), {}, dataset.classes, dataset.format, (FORGET,))
    METHODS["ispf"].create(METHODS["ispf"].checked(values)).unlearn(run.initial_model(), view, run)


def bare(dataset: DatasetSpec, architecture: ArchitectureSpec, batch: int, device: torch.device) -> None:
    """Take the same steps in one function, written for this case alone."""
    teacher = build(architecture, dataset, 0, device).eval().requires_grad_(False)
    student = build(architecture, dataset, 0, device, "student")
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in dataset.format[1:])
    maker = _maker(dataset).to(device)
    of_maker = Adam(maker.parameters(), 1e-3, betas=(0.5, 0.999))
    of_student = SGD(student.parameters(), 0.05, 0.9, weight_decay=1e-4)
    layers = [module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)]
    distances: list[Tensor] = []
    kept = [label for label in range(dataset.classes) if label != FORGET]

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, average = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        distances.append((layer.running_var - variance).norm() + (layer.running_mean - average).norm())

    for _ in range(EPOCHS * ROUNDS):
        student.eval()
        maker.train()
        distances.clear()
        hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
        images = (maker(torch.randn(batch, 256).to(device)) - mean) / std
        answer = teacher(images)
        for hook in hooks:
            hook.remove()
        wanted = log_softmax(answer, 1)
        each = wanted.exp() * (wanted - log_softmax(student(images), 1))
        average = wanted.exp().mean(0)
        loss = (2 * each[:, FORGET] - each.sum(1)).mean() + torch.stack(distances).sum()
        loss = loss + cross_entropy(answer, answer.argmax(1)) + (average * average.log()).sum()
        of_maker.zero_grad()
        loss.backward()
        of_maker.step()
        student.train()
        maker.eval()
        for _ in range(STUDENT_STEPS):
            with torch.no_grad():
                images = (maker(torch.randn(batch, 256).to(device)) - mean) / std
                answer = teacher(images)
                lowest = answer.min(1).values
                selected = softmax(answer, 1)[:, FORGET] > THRESHOLD
                answer[:, kept] += ((answer[:, FORGET] - lowest) * selected / len(kept))[:, None]
                answer[:, FORGET] = torch.where(selected, lowest, answer[:, FORGET])
                wanted = log_softmax(answer, 1)
            loss = (wanted.exp() * (wanted - log_softmax(student(images), 1))).sum(1).mean()
            of_student.zero_grad()
            loss.backward()
            of_student.step()


def _maker(dataset: DatasetSpec) -> nn.Module:
    channels, size, _ = dataset.shape
    side = size // 4
    layers: list[nn.Module] = [
        nn.Linear(256, 256 * side * side),
        nn.Unflatten(1, (256, side, side)),
        nn.BatchNorm2d(256),
    ]
    for before, after in ((256, 128), (128, 64)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(64, channels, 3, padding=1), nn.Sigmoid())


def lines(dataset: str, architecture: str, batch: int, device: torch.device) -> list[Line]:
    """Return the steps a second of the harness, and how they compare with the bare loop."""
    about = DATASETS[dataset], ARCHITECTURES[architecture], batch, device
    seconds: dict[Loop, list[float]] = {with_harness: [], bare: []}
    for _ in range(REPEATS):
        for loop, taken in seconds.items():  # one after the other, so that both see what else the machine does
            start = time.perf_counter()
            loop(*about)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - start)
    own, least = min(seconds[with_harness]), min(seconds[bare])
    where = f"{dataset} {architecture}, batches of {batch}"
    rounds = EPOCHS * ROUNDS
    return [
        Line(f"student steps, {where}", rounds * STUDENT_STEPS / own, "/s", 0, at_least=True),
        Line(f"generator steps, {where}", rounds / own, "/s", 0, at_least=True),
        Line(f"speed / bare, {where}", least / own, "x", SLOWEST, at_least=True),
    ]


def main() -> int:
    """Measure, print, and say whether the limits were kept."""
    parser = argparse.ArgumentParser(description="Speed of the data-free loop.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_num_threads(1)
    registry.load()
    cases = [("digits", "cnn_small", 64)] + ([("cifar10", "allcnn", 256)] if device.type == "cuda" else [])
    return publish([line for case in cases for line in lines(*case, device)], given.json)


if __name__ == "__main__":
    raise SystemExit(main())
