"""The loop that every training and every method goes through; implements `harness.contracts.Run`."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from harness.contracts.architecture import ArchitectureSpec
from harness.contracts.recipe import Recipe
from harness.contracts.run import BEST_TEST, LAST, Diverged, Lent, Stopped
from harness.engine.device import Stopwatch
from harness.engine.models import finite, state_bytes


@dataclass(frozen=True)
class EpochRecord:
    """One point of the curves: mean training loss and learning rate of an epoch, optimiser steps until its end.

    `measured` is what was observed of the model, `recorded` holds the means [] or [C] of what the method noted.
    """

    epoch: int
    loss: float | None
    learning_rate: float | None
    steps: int
    measured: dict[str, float]
    recorded: dict[str, Tensor]


Observer = Callable[[nn.Module], dict[str, float]]
Lender = Callable[[Lent], nn.Module]
_Best = tuple[float, dict[str, Tensor]]


@dataclass
class TrainingRun:
    """One run on one device.

    `draw_model` gives the untrained model of a name ("": what the original started from). `observe` measures the model
    before the first and after every epoch, off the clock (None: no curves). `should_stop` is asked before every step.
    `lend` gives what methods share. `drawn` counts the images of each part that its samples gave out, `lent` holds the
    bytes of each artifact that was asked for.
    """

    seed: int
    recipe: Recipe
    architecture: ArchitectureSpec
    device: torch.device
    generator: torch.Generator
    draw_model: Callable[[str], nn.Module]
    observe: Observer | None = None
    lend: Lender | None = None
    should_stop: Callable[[], bool] = lambda: False
    steps: int = 0
    steps_aside: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    lent: dict[Lent, int] = field(default_factory=dict)
    curves: list[EpochRecord] = field(default_factory=list)
    sheets: dict[str, Tensor] = field(default_factory=dict)
    clock: Stopwatch = field(init=False)
    _losses: list[Tensor] = field(default_factory=list)
    _recorded: dict[str, list[Tensor]] = field(default_factory=dict)

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
        self,
        count: int,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None = None,
        select: str = LAST,
    ) -> Iterator[int]:
        """Yield 0..count-1; after each epoch step the schedule and record the curves.

        With `select` "best_test" the model then becomes that of the epoch that was best on test, if any was observed.
        """
        best: _Best | None = None
        if not self.curves:
            self._record(model, None)
        for epoch in range(count):
            self.check()
            rate = float(optimizer.param_groups[0]["lr"])
            yield epoch
            if schedule is not None:
                _step(schedule)
            self._record(model, rate)
            if select == BEST_TEST and self.observe is not None:
                with self.clock.paused():
                    best = self._better(best, model)
        if best is not None:
            model.load_state_dict(best[1])

    def _better(self, best: _Best | None, model: nn.Module) -> _Best:
        """Return the accuracy on test (of the classes to keep, where classes are forgotten) and its weights."""
        measured = self.curves[-1].measured
        reached = measured.get("test_retain", measured["test"])
        if best is not None and best[0] >= reached:
            return best
        return reached, {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def step(
        self,
        optimizer: Optimizer,
        loss: Tensor,
        edit_gradients: Callable[[], None] | None = None,
        *,
        aside: str = "",
    ) -> None:
        """Take one optimiser step on the loss; `edit_gradients` runs between backward pass and step.

        Steps of another network, named `aside`, are counted in `steps_aside`, and their loss is recorded.
        """
        self.check()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if edit_gradients is not None:
            edit_gradients()
        optimizer.step()
        if aside:
            self.steps_aside += 1
            self.record(f"{aside}_loss", loss)
        else:
            self.steps += 1
            self._losses.append(loss.detach())

    @property
    def observed(self) -> bool:
        """Whether anyone looks on."""
        return self.observe is not None

    def record(self, name: str, value: Tensor) -> None:
        """Note a number [] or one for each class [C]; its means over each epoch are kept beside the curves."""
        if self.observed:
            self._recorded.setdefault(name, []).append(value.detach().float())

    def show(self, name: str, images: Tensor) -> None:
        """Keep images [n, C, H, W], pixels in [0, 1], as a sheet for the report page."""
        if self.observed:
            self.sheets[name] = images.detach().cpu()

    def artifact(self, artifact: Lent) -> nn.Module:
        """Return a copy of the network of an artifact; raise `Diverged` where its making did."""
        if self.lend is None:
            raise LookupError("this run has no artifacts to lend")
        network = self.lend(artifact)
        self.lent[artifact] = state_bytes(network)
        if not finite(network):
            raise Diverged(f"the {type(artifact).__name__} that the run asked for has diverged")
        return network

    def _record(self, model: nn.Module, rate: float | None) -> None:
        losses, self._losses = self._losses, []
        noted, self._recorded = self._recorded, {}
        if self.observe is None:
            return
        with self.clock.paused():
            loss = float(torch.stack(losses).float().mean()) if losses else None
            means = {name: torch.stack(values).mean(0).cpu() for name, values in noted.items()}
            self.curves.append(EpochRecord(len(self.curves), loss, rate, self.steps, self.observe(model), means))


def _step(schedule: LRScheduler) -> None:
    with warnings.catch_warnings():  # a schedule goes on through an epoch of which a filter has left no image
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        schedule.step()
