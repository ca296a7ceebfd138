"""Relearning on models of which it is known when they are back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import Augmentation, Batch, DatasetSpec, Images
from harness.engine.data import DeviceData, PartSamples
from harness.engine.relearn import ROUNDING, accuracy, is_reached, relearn, steps_at_most

SIDE, CLASSES = 2, 2


class Switch(nn.Module):
    """Right only once it was trained on `after` batches; a weight without effect lets the loss have a gradient."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.after, self.trained = after, 0
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.trained += 1
            self.sizes.append(len(images))
        answer = torch.tensor([0.0, 1.0 if self.trained >= self.after else -1.0])
        return answer.expand(len(images), CLASSES) + 0 * self.weight


def data_of(count: int) -> DeviceData:
    """Return images of which every label is 1."""
    images = np.zeros((count, 1, SIDE, SIDE), dtype=np.uint8)
    spec = DatasetSpec(
        **{**vars(tiny.SPEC), "classes": CLASSES, "shape": (1, SIDE, SIDE), "mean": (0.0,), "std": (1.0,)}
        | {"augmentation": Augmentation()}
    )
    return DeviceData.put(Images(images, np.ones(count, dtype=np.int64)), spec, tiny.CPU)


def count_steps(after: int, images: int) -> tuple[int | None, Switch, list[int]]:
    """Return what relearning finds for a switch, the switch, and after how many steps it was asked."""
    data, run, model = data_of(images), tiny.new_run(), Switch(after)
    samples, few = PartSamples(data, torch.arange(images), run.generator), torch.arange(7)
    when: list[int] = []

    def is_back(now: nn.Module) -> bool:
        when.append(run.steps)
        return accuracy(now, data, few) >= 0.95

    return relearn(model, samples, is_back, run), model, when


@pytest.mark.parametrize(("after", "found"), [(0, 0), (1, 1), (2, 2), (49, 49), (50, 50)])
def test_up_to_fifty_the_count_is_exact(after: int, found: int) -> None:
    steps, model, when = count_steps(after, images=2560)
    assert steps == found == model.trained
    assert when == list(range(found + 1))


@pytest.mark.parametrize(("after", "found"), [(51, 55), (55, 55), (56, 60), (100, 100)])
def test_later_the_model_is_asked_at_every_fifth_step(after: int, found: int) -> None:
    steps, model, when = count_steps(after, images=2560)
    assert steps == found == model.trained
    assert when == [*range(51), *range(55, found + 1, 5)]


def test_a_model_that_is_not_back_at_the_limit_has_no_number() -> None:
    steps, model, _ = count_steps(502, images=600)
    assert (steps, model.trained, steps_at_most(600)) == (None, 501, 501)
    assert count_steps(501, images=600)[0] == 501  # at the very last step


def test_the_limit_is_ten_epochs_and_at_least_500_steps_and_is_asked_about() -> None:
    assert [steps_at_most(256 * batches) for batches in (1, 2, 3, 13, 50, 51)] == [500, 500, 501, 507, 500, 510]
    steps, _, when = count_steps(10**6, images=256 * 3)
    assert steps is None
    assert when == [*range(51), *range(55, 501, 5), 501]


def test_batches_have_256_images_or_all_if_there_are_fewer() -> None:
    assert count_steps(4, images=512)[1].sizes == [256] * 4
    assert count_steps(3, images=100)[1].sizes == [100] * 3


class Fixed:
    """The same batches in every epoch; implements as much of `Samples` as relearning needs."""

    def __init__(self, images: Tensor, labels: Tensor, size: int) -> None:
        self.batch = [
            Batch(images[start : start + size], labels[start : start + size], torch.arange(size))
            for start in range(0, len(images), size)
        ]
        self.asked: list[tuple[int, bool]] = []

    def __len__(self) -> int:
        return sum(len(batch.labels) for batch in self.batch)

    def batches(self, size: int, *, shuffle: bool = True, augment: bool = False) -> Iterator[Batch]:
        self.asked.append((size, augment))
        yield from self.batch


def adam(x: NDArray[np.float64], y: NDArray[np.int64], size: int, steps: int) -> list[float]:
    """Return the accuracy of a softmax regression from zero weights after each step of Adam (Kingma and Ba 2015)."""
    weight = np.zeros((CLASSES, x.shape[1]))
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    found = []
    for step in range(1, steps + 1):
        start = (step - 1) * size % len(x)
        some, labels = x[start : start + size], y[start : start + size]
        odds = np.exp(some @ weight.T)
        odds /= odds.sum(1, keepdims=True)
        gradient = (odds - np.eye(CLASSES)[labels]).T @ some / len(some)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
        weight -= 0.001 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        found.append(float(((x @ weight.T).argmax(1) == y).mean()))
    return found


def test_the_steps_are_those_of_adam_at_a_thousandth() -> None:
    """On a regression whose accuracy grows slowly, against the update written out in numpy."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (600, 3)), np.full((600, 1), 1.0)], axis=1)
    y = (x @ [0.2, 0.3, -1.0, -0.3] > 0).astype(np.int64)
    # The first steps have the signs of the gradient alone: columns of other size let the accuracy change later, too.
    x[:, 0] *= 9
    path = adam(x, y, 200, 30)
    target = sorted(set(path))[-3]
    first = next(step for step, reached in enumerate(path, 1) if reached >= target)
    assert first > 5
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    model = nn.Linear(4, CLASSES, bias=False).double()
    nn.init.zeros_(model.weight)

    def is_back(now: nn.Module) -> bool:
        return float((now(images).argmax(1) == labels).double().mean()) >= target - ROUNDING and run.steps > 0

    run, samples = tiny.new_run(), Fixed(images, labels, 200)
    assert relearn(model, samples, is_back, run) == first  # type: ignore[arg-type]
    assert set(samples.asked) == {(256, True)}


def test_asking_leaves_the_mode_alone_and_is_not_on_the_clock() -> None:
    run, model = tiny.new_run(), Switch(3)
    run.clock.start()
    data = data_of(64)
    samples = PartSamples(data, torch.arange(64), run.generator)
    modes: list[bool] = []
    seconds: list[float] = []

    def is_back(now: nn.Module) -> bool:
        modes.append(now.training)
        seconds.extend([run.clock.stop(), run.clock.stop()])
        accuracy(now, data, torch.arange(5))
        return model.trained >= 3

    relearn(model.eval(), samples, is_back, run)
    assert modes == [False, True, True, True]
    assert seconds[::2] == seconds[1::2]  # it stands still while asked
    assert run.clock.stop() > seconds[-1]  # and goes on afterwards


def test_an_answer_that_is_not_finite_is_wrong_for_class_0_as_well() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full((len(images), CLASSES), torch.nan)

    data = data_of(8).relabelled(torch.zeros(8, dtype=torch.int64))
    assert accuracy(Broken(), data, torch.arange(8)) == 0
    assert np.isnan(accuracy(Broken(), data, torch.arange(0)))


def test_rounding_costs_no_step() -> None:
    """95 % of 60 in 80 are 57: the product is no exact number, and may lie above 57/80."""
    for count in range(20, 400, 20):
        for known in range(0, count + 1, 20):
            back = known // 20 * 19
            target = 0.95 * (known / count)
            assert is_reached(back / count, target)
            assert known == 0 or not is_reached((back - 1) / count, target)
