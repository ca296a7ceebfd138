"""The loop: when it stops, what it counts, and what is off its clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from harness.check import problem as tiny
from harness.contracts import RETAIN, Stopped
from harness.engine.data import PartSamples
from harness.engine.device import Stopwatch
from harness.engine.evaluate import evaluate
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.train import fit


class Clock:
    """A clock that goes on only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("harness.engine.device.time", SimpleNamespace(perf_counter=made.perf_counter))
    return made


def test_the_stopwatch_adds_stretches_and_leaves_pauses_out(clock: Clock) -> None:
    watch = Stopwatch(tiny.CPU)
    for stretch in (2.0, 3.0):
        watch.start()
        clock.now += stretch
        with watch.paused():
            clock.now += 50
        clock.now += 1
        assert watch.stop() == watch.stop()
        clock.now += 7
    with watch.paused():
        clock.now += 9
    clock.now += 9
    assert watch.stop() == pytest.approx(2 + 1 + 3 + 1)


def loop(run: TrainingRun, model: nn.Module, clock: Clock | None = None, epochs: int = 3) -> None:
    """Train for some epochs of two steps each; every step lasts a second of the given clock."""
    optimizer = SGD(model.parameters(), 0.1)
    x, y = tiny.data().batch(torch.arange(8)), tiny.data().labels[:8]
    for _ in run.epochs(epochs, model, optimizer, StepLR(optimizer, 1, gamma=0.5)):
        for _ in range(2):
            run.step(optimizer, cross_entropy(model(x), y))
            if clock:
                clock.now += 1


def test_curves_are_off_the_clock(clock: Clock) -> None:
    def observe(model: nn.Module) -> dict[str, float]:
        clock.now += 1000
        return {}

    run = tiny.new_run(observe=observe)
    run.clock.start()
    loop(run, tiny.own_copy("cnn_small"), clock)
    assert run.clock.stop() == pytest.approx(6)
    assert clock.now == 100 + 6 + 4000


def test_curves_hold_the_mean_loss_and_the_rate_of_each_epoch_and_begin_before_the_first() -> None:
    model, losses = tiny.own_copy("cnn_small"), []
    run = tiny.new_run(observe=lambda m: {"val": float(len(losses))})
    step = run.step

    def note(optimizer: SGD, loss: torch.Tensor) -> None:
        losses.append(float(loss.detach()))
        step(optimizer, loss)

    run.step = note  # type: ignore[method-assign, assignment]
    loop(run, model)
    means = [sum(losses[i : i + 2]) / 2 for i in (0, 2, 4)]
    assert [(r.epoch, r.learning_rate) for r in run.curves] == [(0, None), (1, 0.1), (2, 0.05), (3, 0.025)]
    assert [r.loss for r in run.curves] == [None, *(pytest.approx(mean) for mean in means)]
    assert [r.measured["val"] for r in run.curves] == [0, 2, 4, 6]


def test_a_second_phase_goes_on_with_the_curves() -> None:
    run = tiny.new_run(observe=lambda model: {})
    model = tiny.own_copy("cnn_small")
    loop(run, model, epochs=2)
    loop(run, model, epochs=1)
    assert [record.epoch for record in run.curves] == [0, 1, 2, 3]


def test_observing_does_not_change_the_weights() -> None:
    def reached(observed: bool) -> str:
        model = tiny.own_copy("cnn_small").train()
        next(layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)).eval()
        everything = torch.arange(tiny.COUNT)
        loop(
            tiny.new_run(
                observe=(lambda m: {"all": evaluate(m, tiny.data(), everything).accuracy}) if observed else None
            ),
            model,
        )
        return digest(model.state_dict())

    assert reached(True) == reached(False)


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_stops_before_the_step_that_it_may_not_take(after: int) -> None:
    run = tiny.new_run()
    run.should_stop = lambda: run.steps >= after
    with pytest.raises(Stopped):
        loop(run, tiny.own_copy("cnn_small"))
    assert run.steps == after


def test_counts_its_steps() -> None:
    run = tiny.new_run()
    index = tiny.parts("random:0.1")[RETAIN]
    model = tiny.own_copy("cnn_small")
    samples = PartSamples(tiny.data(), index, run.generator)
    fit(model, samples, SGD(model.parameters(), 0.1), run, epochs=3, batch_size=12)
    assert run.steps == 3 * -(-len(index) // 12)


def test_gradients_are_edited_after_the_backward_pass_and_start_from_zero() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = SGD([weight], 1.0)

    def edit() -> None:
        assert weight.grad is not None
        weight.grad[0] = 0

    run = tiny.new_run()
    for _ in range(2):
        run.step(optimizer, (weight * torch.tensor([2.0, 3.0])).sum(), edit)
    assert weight.tolist() == [1.0, -5.0]
