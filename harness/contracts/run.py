"""What the harness lends to a method for the length of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from harness.contracts.architecture import ArchitectureSpec
from harness.contracts.recipe import Recipe
from harness.contracts.view import ImageFormat, View

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

LAST, BEST_TEST = "last", "best_test"
"""Which epoch's model a method returns."""


class Stopped(Exception):
    """The harness told the run to stop; raised from `Run.check`, `Run.step` and `Run.epochs`."""


class Diverged(Exception):
    """A method saw that nothing can come of its run: a loss that is not finite, a generator that collapsed.

    The unit's status is then `diverged`, a result with its curves and without numbers.
    """


class Run(Protocol):
    """One run: its randomness, its recipe, and the two calls every training loop is made of::

    for _ in run.epochs(self.epochs, model, optimizer, schedule):
        for images, labels, _ in data.retain.batches(self.batch_size):
            run.step(optimizer, cross_entropy(model(images), labels))
    """

    seed: int
    recipe: Recipe
    architecture: ArchitectureSpec
    """Names the modules that are the model's stem, blocks and head."""
    device: torch.device
    generator: torch.Generator
    """On the CPU, seeded for this run alone; draw on the CPU and move, so that devices agree."""

    def initial_model(self) -> nn.Module:
        """Return the untrained model of this seed: what the original started from."""

    def untrained_model(self, name: str) -> nn.Module:
        """Return a freshly drawn model of the same architecture; the same for the same name and seed."""

    def check(self) -> None:
        """Raise `Stopped` if the run was told to stop: for loops over batches that take no step."""

    def epochs(
        self,
        count: int,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None = None,
        select: str = LAST,
    ) -> Iterator[int]:
        """Yield 0..count-1; after each epoch step the schedule and record the curves (not on the clock).

        With `select` "best_test" the model is at the end that of the epoch that was best on test, on the images and
        classes that the curves show: only to reproduce results that were chosen so, and labelled as such.
        """

    def step(
        self,
        optimizer: Optimizer,
        loss: Tensor,
        edit_gradients: Callable[[], None] | None = None,
        *,
        aside: str = "",
    ) -> None:
        """Take one optimiser step on the loss; `edit_gradients` runs between backward pass and step.

        Where another network than the model learns, `aside` names it ("generator"): its loss is recorded as
        `generator_loss`, apart from the model's, and so are its steps counted.
        """

    @property
    def observed(self) -> bool:
        """Whether anyone looks on: what is only made to be recorded or shown may else be left out."""

    def record(self, name: str, value: Tensor) -> None:
        """Note a number [] or one for each class [C]; its means over each epoch are kept beside the curves."""

    def show(self, name: str, images: Tensor) -> None:
        """Keep images [n, C, H, W], pixels in [0, 1], as a sheet for the report page."""

    def artifact(self, artifact: Lent) -> nn.Module:
        """Return a copy of the network of an artifact, made by a unit of its own or now.

        Raises `Diverged` where its making did.
        """


class Artifact(Protocol):
    """An instance carries one set of hyperparameters; equal ones are one artifact, made once for each forget set.

    A method names those that it may ask for in `artifacts()`, a sequence of instances, and gets them from
    `Run.artifact`. A study makes each as a unit of its own, before the trials of all seeds, methods and settings that
    name it. Where there is none to share (a shadow model of an audit, a timed run), it is made when it is asked for.
    """

    def network(self, images: ImageFormat) -> nn.Module:
        """Return the untrained network for a data set; its weights are all that is kept of an artifact."""

    def make(self, network: nn.Module, original: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the trained network; `original` is there to judge by, and must be neither changed nor learned from."""


Build: TypeAlias = "Callable[[str], nn.Module]"
"""Gives an untrained model of the architecture by its name, as `Run.untrained_model` does; "" is what the original
started from."""


class TrainingArtifact(Protocol):
    """An artifact of the training: what is kept of it for requests that nobody has made yet, such as checkpoints.

    It is made of all training images, which are the `retain` of its view, once for each data set, architecture and
    seed: it cannot know what will be forgotten. Its seed is that of the trials that ask for it. Where it is made for
    one run alone, that is not on the clock of the run: training is not unlearning. `Samples.ids` tell which of its
    images a method is to forget.
    """

    def network(self, images: ImageFormat, build: Build) -> nn.Module:
        """Return the network before training; its weights and buffers are all that is kept of an artifact."""

    def make(self, network: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the network with all that is to be kept; `run.architecture` and `run.recipe` are those of trials."""


Lent = Artifact | TrainingArtifact
"""What a method may ask for."""
