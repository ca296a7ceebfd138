"""GKT as its authors released it: both networks see filtered images only, and the student imitates attention, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize, softmax
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from harness.contracts import Diverged, Run, View, choice, fixed, integer, log_uniform, method, share_of_training
from tasks.methods._data_free import CLASS_REQUESTS, check_teacher, classes_to_forget, divergences, generator

RESET_AFTER = 100
"""Batches in a row of which the filter leaves nothing, after which the generator goes back to its last checkpoint."""
FACTOR, PATIENCE = 0.5, 2
"""Of the plateau schedules, which are asked once an epoch."""


@method(
    reads=(),
    scenarios=CLASS_REQUESTS,
    source="Chundawat et al. 2023, IEEE TIFS, arXiv 2201.05629, Gated Knowledge Transfer",
)
class GktOriginal:
    """Gated Knowledge Transfer: generator and student see only images without a trace of the classes to forget.

    4,000 batches of noise, `rounds` to an epoch; each serves one step of the generator, which minimises -KL, and
    `student_steps` of the student, which minimises KL + `attention` x the distance of attention maps; KL is a mean over
    B x C. A trace is a probability above `threshold` / C: 0.01 for 10 classes. The release halves the student's rate by
    its loss on real validation images, which are no part of a data-free method; here its own loss decides. The
    generator's rate is halved on every third epoch, as in the release.
    """

    epochs: int = integer(1, share_of_training(4), default=80)
    rounds: int = fixed(50, least=1)
    student_steps: int = fixed(10, least=1)
    batch_size: int = choice(64, 128, 256, default=256)
    lr: float = log_uniform(1e-4, 1e-2, default=1e-3)
    generator_lr: float = log_uniform(1e-4, 1e-2, default=1e-3)
    noise: int = fixed(128, least=1)
    threshold: float = fixed(0.1)
    attention: float = fixed(250.0)
    clip: float = fixed(5.0)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the student: of the original's architecture, without one of its weights."""
        return _Transfer(self, model, data, run, classes_to_forget(data, self.threshold)).student_of_the_end()


@dataclass
class _Transfer:
    """One run: its networks, their optimisers, and how long the filter has left nothing."""

    settings: GktOriginal
    teacher: nn.Module
    data: View
    run: Run
    forget: list[int]
    empty: int = 0

    def __post_init__(self) -> None:
        settings, images, device = self.settings, self.data.images, self.run.device
        self.teacher.eval().requires_grad_(False)
        check_teacher(self.teacher, self.data, self.run)
        self.generator = generator(images, settings.noise, [nn.BatchNorm2d(images.shape[0])], bias=True).to(device)
        self.student = self.run.untrained_model("student")
        self.optimizer = Adam(self.student.parameters(), settings.lr)
        self.generator_optimizer = Adam(self.generator.parameters(), settings.generator_lr)

    def student_of_the_end(self) -> nn.Module:
        settings = self.settings
        plateau = ReduceLROnPlateau(self.optimizer, factor=FACTOR, patience=PATIENCE)
        constant = ReduceLROnPlateau(self.generator_optimizer, factor=FACTOR, patience=PATIENCE)
        for _ in self.run.epochs(settings.epochs, self.student, self.optimizer):
            checkpoint, losses = deepcopy(self.generator.state_dict()), []
            for _ in range(settings.rounds):
                losses += self._round()
                if self.empty > RESET_AFTER:
                    self.generator.load_state_dict(checkpoint)
                    self.empty = 0
            plateau.step(_mean(losses))
            constant.step(0.0)
        return self.student

    def _round(self) -> list[Tensor]:
        """Take all steps that one batch of noise serves; return the losses of the student."""
        settings = self.settings
        noise = torch.randn(settings.batch_size, settings.noise, generator=self.run.generator).to(self.run.device)
        self._train_generator(noise)
        losses = (self._train_student(noise) for _ in range(settings.student_steps))
        return [loss for loss in losses if loss is not None]

    def _train_generator(self, noise: Tensor) -> None:
        self.student.eval()
        images = self.generator(noise)
        teacher = self.teacher(images)
        kept = self._passing(teacher.detach())
        if kept.any():
            loss = -divergences(teacher[kept], self.student(images[kept])).mean()
            self.run.step(self.generator_optimizer, loss, self._clip(self.generator), aside="generator")

    def _train_student(self, noise: Tensor) -> Tensor | None:
        self.student.train()
        blocks = self.run.architecture.blocks
        with torch.no_grad(), attention_maps(self.teacher, blocks) as wanted:
            images = self.generator(noise)
            teacher = self.teacher(images)
        kept = self._passing(teacher)
        if kept.sum() < 2:  # BatchNorm needs two
            self.run.check()
            return None
        with attention_maps(self.student, blocks) as found:
            student = self.student(images[kept])
        distances = [mse_loss(own, of_teacher[kept]) for own, of_teacher in zip(found, wanted, strict=True)]
        loss = divergences(teacher[kept], student).mean() + self.settings.attention * torch.stack(distances).sum()
        self.run.step(self.optimizer, loss, self._clip(self.student))
        return loss.detach()

    def _passing(self, teacher: Tensor) -> Tensor:
        """Return which images [B] the filter lets through; the threshold itself passes, unlike in ISPF's version."""
        probabilities = softmax(teacher, dim=1)
        kept = (probabilities[:, self.forget] <= self.settings.threshold / self.data.classes).all(1)
        self.empty = 0 if kept.any() else self.empty + 1
        self.run.record("kept", kept.float().mean())
        self.run.record("forget_probability", probabilities[:, self.forget].sum(1).mean())
        return kept

    def _clip(self, model: nn.Module) -> Callable[[], None]:
        def clip() -> None:
            clip_grad_norm_(model.parameters(), self.settings.clip)

        return clip


def _mean(losses: list[Tensor]) -> float:
    """Return the mean loss of an epoch, infinite for none; raise `Diverged` where it is not finite."""
    if not losses:
        return math.inf
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise Diverged("the student's loss is not finite")
    return mean


@contextmanager
def attention_maps(model: nn.Module, blocks: Sequence[str]) -> Iterator[list[Tensor]]:
    """Collect the attention map [B, positions] of each named block in a forward pass inside the `with` block.

    It is the mean over channels of the squared activations, flattened and of length 1 (Zagoruyko and Komodakis 2017,
    arXiv 1612.03928). Activations are [B, C, H, W] or, of a transformer, [B, positions, C].
    """
    maps: list[Tensor] = []

    def look(module: nn.Module, inputs: object, activations: Tensor) -> None:
        squares = activations.pow(2).mean(1 if activations.ndim == 4 else 2)
        maps.append(normalize(squares.flatten(1), dim=1))

    hooks = [model.get_submodule(name).register_forward_hook(look) for name in blocks]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
