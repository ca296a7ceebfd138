"""The loop that every training and every method goes through; implements `harness.contracts.Run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from harness.contracts.architecture import ArchitectureSpec
from harness.contracts.recipe import Recipe
from harness.contracts.run import Stopped
from harness.engine.device import Stopwatch


@dataclass(frozen=True)
class EpochRecord:
    """One point of the curves: mean training loss and learning rate of an epoch, and what was observed."""

    epoch: int
    loss: float | None
    learning_rate: float | None
    measured: dict[str, float]


Observer = Callable[[nn.Module], dict[str, float]]


@dataclass
class TrainingRun:
    """One run on one device.

    `draw_model` gives the untrained model of a name ("": what the original started from). `observe` measures the model
    before the first and after every epoch, off the clock (None: no curves). `should_stop` is asked before every step.
    """

    seed: int
    recipe: Recipe
    architecture: ArchitectureSpec
    device: torch.device
    generator: torch.Generator
    draw_model: Callable[[str], nn.Module]
    observe: Observer | None = None
    should_stop: Callable[[], bool] = lambda: False
    steps: int = 0
    curves: list[EpochRecord] = field(default_factory=list)
    clock: Stopwatch = field(init=False)
    _losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Stopwatch(self.device)

    def initial_model(self) -> nn.Module:
        """Return the untrained model of this seed: what the original started from."""
        return self.draw_model("")

    def untrained_model(self, name: str) -> nn.Module:
        """Return another untrained model, the same for the same name and seed."""
        return self.draw_model(name)

    def check(self) -> None:
        """Raise `Stopped` if the run was told to stop."""
        if self.should_stop():
            raise Stopped

    def epochs(
        self, count: int, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None = None
    ) -> Iterator[int]:
        """Yield 0..count-1; after each epoch step the schedule and record the curves."""
        if not self.curves:
            self._record(model, None)
        for epoch in range(count):
            self.check()
            rate = float(optimizer.param_groups[0]["lr"])
            yield epoch
            if schedule is not None:
                schedule.step()
            self._record(model, rate)

    def step(self, optimizer: Optimizer, loss: Tensor, edit_gradients: Callable[[], None] | None = None) -> None:
        """Take one optimiser step on the loss; `edit_gradients` runs between backward pass and step."""
        self.check()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if edit_gradients is not None:
            edit_gradients()
        optimizer.step()
        self.steps += 1
        self._losses.append(loss.detach())

    def _record(self, model: nn.Module, rate: float | None) -> None:
        losses, self._losses = self._losses, []
        if self.observe is None:
            return
        with self.clock.paused():
            loss = float(torch.stack(losses).float().mean()) if losses else None
            self.curves.append(EpochRecord(len(self.curves), loss, rate, self.observe(model)))
