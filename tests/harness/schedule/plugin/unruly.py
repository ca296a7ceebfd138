"""Methods and networks that misbehave, and a data set on which every other method takes milliseconds.

What a method does the first time only, it knows from files in $UNRULY_FOLDER: its process does not survive.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.contracts import Images, Recipe, Run, View, architecture, dataset, integer, method

CLASSES, IMAGES, DEVELOPMENT = 4, 120, 90


@dataset(
    classes=CLASSES,
    shape=(1, 8, 8),
    development=DEVELOPMENT,
    test=IMAGES - DEVELOPMENT,
    mean=(0.5,),
    std=(0.25,),
    files={},
    source="drawn here",
    recipe=Recipe(epochs=1, batch_size=30, lr=0.01),
)
def bands(files: Mapping[str, bytes]) -> Images:
    """A bright band of two rows under noise; the band is the class."""
    labels = np.arange(IMAGES) % CLASSES
    pixels = np.random.default_rng(0).integers(0, 128, (IMAGES, 1, 8, 8))
    for label in range(CLASSES):
        pixels[labels == label, :, 2 * label : 2 * label + 2] += 80
    return Images(pixels.astype(np.uint8), labels.astype(np.int64))


class _Unsociable(nn.Flatten):
    """Ends its process where several networks are trained at once."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch._C._functorch.peek_interpreter_stack() is not None:
            os._exit(1)
        return super().forward(images)


class _Forgetful(nn.Flatten):
    """Draws random numbers, by which networks cannot be trained at once."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(images), 0.1, self.training)


@architecture(stem=("1",), blocks=("1",), head="1", source="tests")
def unsociable(channels: int, size: int, classes: int) -> nn.Module:
    """A linear layer that does not survive company."""
    return nn.Sequential(_Unsociable(), nn.Linear(channels * size * size, classes))


@architecture(stem=("1",), blocks=("1",), head="1", source="tests")
def forgetful(channels: int, size: int, classes: int) -> nn.Module:
    """A linear layer behind dropout."""
    return nn.Sequential(_Forgetful(), nn.Linear(channels * size * size, classes))


def folder() -> Path:
    return Path(os.environ["UNRULY_FOLDER"])


def times(name: str) -> int:
    """Count the calls under a name, over all processes; return the number of this one, from 1."""
    number = 1
    while True:
        try:
            (folder() / f"{name}-{number}").touch(exist_ok=False)
            return number
        except FileExistsError:
            number += 1


@method(reads=(), source="test")
class Obedient:
    """Change nothing."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        times("obedient")
        return model


@method(reads=(), source="test")
class DiesOnce:
    """End the process, the first time."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        if times("dies_once") == 1:
            os._exit(1)
        return model


@method(reads=(), source="test")
class DiesAlways:
    """Crash the process every time."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        times("dies_always")
        ctypes.string_at(0)
        return model


@method(reads=(), source="test")
class TerminatedOnce:
    """Be told to stop, the first time, as workers are whose node is taken away."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        if times("terminated_once") == 1:
            signal.raise_signal(signal.SIGTERM)
        return model


@method(reads=(), source="test")
class FullOnce:
    """Find the memory of the GPU full, the first time."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        if times("full_once") == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model


@method(reads=(), source="test")
class Hangs:
    """Never end, and never give Python's lock back."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        times("hangs")
        re.match(r"(a+)+$", "a" * 60 + "b")
        return model


@method(reads=(), source="test")
class Raises:
    """Have a bug."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        times("raises")
        raise ZeroDivisionError("a bug")


@method(reads=(), source="test")
class Exits:
    """Ask the process to exit."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        raise SystemExit(3)


@method(reads=(), source="test")
class Interrupts:
    """Raise what only a Ctrl-C should."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        raise KeyboardInterrupt


forwards = 0


def _count(module: nn.Module, inputs: object, output: object) -> None:
    global forwards
    forwards += 1


torch.nn.modules.module.register_module_forward_hook(_count)


@method(reads=(), source="test")
class Counts:
    """Leave a note of how often a model was applied in this process before."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        (folder() / f"forwards-{times('counts')}").write_text(str(forwards))
        return model


@method(reads=(), source="test")
class Sleeps:
    """Take so many milliseconds, once units have run on so many nodes."""

    milliseconds: int = integer(1, 100_000, default=500)
    nodes: int = integer(1, 10, default=1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        (folder() / f"sleeping-{os.getppid()}").touch()  # in which node's care
        while len(list(folder().glob("sleeping-*"))) < self.nodes:
            time.sleep(0.05)
        time.sleep(self.milliseconds / 1000)
        return model


@method(reads=(), source="test")
class Meets:
    """Wait until so many run at once; leave a note of how many there were."""

    others: int = integer(1, 1000, default=2)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        here, met = folder() / f"here-{run.seed}", folder() / "met"
        here.touch()
        while not met.exists():
            if len(list(folder().glob("here-*"))) >= self.others:
                met.touch()
            time.sleep(0.05)
        time.sleep(0.3)  # long enough for one too many to show
        (folder() / f"present-{run.seed}").write_text(str(len(list(folder().glob("here-*")))))
        here.unlink()
        return model
