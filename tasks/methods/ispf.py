"""ISPF and its baselines: a student learns from generated images what the original knows of the classes to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.contracts import (
    BEST_TEST,
    LAST,
    Diverged,
    Run,
    View,
    choice,
    family,
    fixed,
    integer,
    log_uniform,
    method,
    share_of_training,
    variants,
)
from tasks.methods._data_free import (
    CLASS_REQUESTS,
    Normalise,
    UnsuitableTeacher,
    adversarial,
    batch_statistics,
    certainty,
    check_teacher,
    classes_to_forget,
    divergences,
    evenness,
    generator,
    inhibited,
    let_through,
    not_taken_for,
    post_filtered,
)

ISPF = "arXiv 2412.13790"
GKT = "Chundawat et al. 2023, IEEE TIFS, arXiv 2201.05629"
NOISE = 256
COLLAPSED = 20
"""Epochs in a row that leave the student without an image, after which the generator counts as collapsed."""


@family
class Distilled:
    """The loop that all of them share; the defaults are those of ISPF's script for CIFAR-10.

    `epochs` of `rounds`, and `warm_up` more before them in which only the generator learns; a round takes
    `generator_steps`, then `student_steps`, each on a fresh batch. The generator minimises the adversarial term
    + `bn` x statistics + `one_hot` x certainty + `balance` x evenness: base DFQ. Variant `zskt` has the adversarial
    term alone: base ZSKT, with rounds that this harness chose, because the paper's are lost.
    """

    epochs: int = integer(1, share_of_training(4), default=200)
    warm_up: int = fixed(2)
    rounds: int = fixed(5, least=1)
    generator_steps: int = fixed(1, least=1)
    student_steps: int = fixed(10, least=1)
    batch_size: int = choice(64, 128, 256, default=256)
    lr: float = log_uniform(0.005, 0.5, default=0.05)
    momentum: float = fixed(0.9, most=1)
    weight_decay: float = fixed(1e-4)
    generator_lr: float = log_uniform(1e-4, 1e-2, default=1e-3)
    bn: float = fixed(1.0)
    one_hot: float = fixed(1.0)
    balance: float = fixed(1.0)
    select: str = fixed(LAST, options=(LAST, BEST_TEST))
    variant: str = variants(
        zskt={
            **dict.fromkeys(("bn", "one_hot", "balance"), fixed(0.0)),
            **{"rounds": fixed(10, least=1), "student_steps": fixed(5, least=1)},
        }
    )

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the student: of the original's architecture, without one of its weights."""
        return _Distillation(self, model, data, run, self._forget(data)).student_of_the_end()

    def _forget(self, data: View) -> list[int]:
        return classes_to_forget(data)

    def adversarial(self, teacher: Tensor, student: Tensor, forget: Sequence[int]) -> Tensor:
        """Return the adversarial term of the generator's loss from logits [B, C]."""
        return adversarial(teacher, student)

    def keeps(self, teacher: Tensor, forget: Sequence[int]) -> Tensor:
        """Return which images [B] the student learns from."""
        return torch.ones(len(teacher), dtype=torch.bool, device=teacher.device)

    def target(self, teacher: Tensor, forget: Sequence[int]) -> Tensor:
        """Return the logits [B, C] that the student shall reproduce."""
        return teacher


@method(reads=(), source=f"Choi et al. 2021, DFQ, arXiv 2012.08523, as the control in {ISPF}")
class Dfkd(Distilled):
    """Data-free distillation without any forgetting: what the student loses by seeing no real image."""

    def _forget(self, data: View) -> list[int]:
        return list(data.forget_classes)


@method(reads=(), scenarios=CLASS_REQUESTS, source=f"{ISPF}, baseline BlockF")
class Blockf(Distilled):
    """Learn from no generated image that the original takes for a class to forget."""

    def keeps(self, teacher: Tensor, forget: Sequence[int]) -> Tensor:
        """Keep what the teacher answers with another class."""
        return not_taken_for(teacher, forget)


@family
class Thresholded(Distilled):
    """Those that look at the probability of a class to forget.

    `threshold` is a multiple of a uniform answer: 0.1 / C is the paper's 0.01 for 10 classes, and 0.001 for 100.
    """

    threshold: float = fixed(0.1)

    def _forget(self, data: View) -> list[int]:
        return classes_to_forget(data, self.threshold)


@family
class Filtered(Thresholded):
    """Those that drop images."""

    def keeps(self, teacher: Tensor, forget: Sequence[int]) -> Tensor:
        """Keep what has a probability below the threshold in every class to forget."""
        return let_through(teacher, forget, self.threshold / teacher.shape[1])


@family
class PostFiltered(Thresholded):
    """Those that edit the teacher's answers; `iterate` mends, for several classes, a leak of the published rule."""

    pf_select: str = fixed("once", options=("once", "iterate"))

    def target(self, teacher: Tensor, forget: Sequence[int]) -> Tensor:
        """Move what the classes to forget hold to the others."""
        return post_filtered(teacher, forget, self.threshold / teacher.shape[1], self.pf_select == "iterate")


@method(reads=(), scenarios=CLASS_REQUESTS, source=f"{GKT}, re-implemented in {ISPF}")
class Gkt(Filtered):
    """Learn from no generated image in which the original sees a trace of a class to forget."""


@method(reads=(), scenarios=CLASS_REQUESTS, source=f"{ISPF}, Inhibited Synthesis with the filter of GKT", name="is")
class Is(Filtered):
    """GKT whose generator is led away from the classes to forget, so that the filter drops fewer images."""

    def adversarial(self, teacher: Tensor, student: Tensor, forget: Sequence[int]) -> Tensor:
        """Turn the sign of the divergence on the classes to forget."""
        return inhibited(teacher, student, forget)


@method(reads=(), scenarios=CLASS_REQUESTS, source=f"{ISPF}, PostFilter")
class Pf(PostFiltered):
    """Learn from every generated image, with the classes to forget taken out of the original's answer."""


@method(reads=(), scenarios=CLASS_REQUESTS, source=ISPF)
class Ispf(PostFiltered):
    """Inhibited Synthesis and PostFilter: a generator led away from the classes to forget, and edited answers."""

    def adversarial(self, teacher: Tensor, student: Tensor, forget: Sequence[int]) -> Tensor:
        """Turn the sign of the divergence on the classes to forget."""
        return inhibited(teacher, student, forget)


@dataclass
class _Distillation:
    """One run of the loop: its networks, their optimisers, and what it takes note of."""

    settings: Distilled
    teacher: nn.Module
    data: View
    run: Run
    forget: list[int]
    losses: list[Tensor] = field(default_factory=list)
    idle: int = 0
    """Epochs since the student last had an image."""

    def __post_init__(self) -> None:
        settings, run = self.settings, self.run
        self.teacher.eval().requires_grad_(False)
        check_teacher(self.teacher, self.data, run)
        output = (nn.Sigmoid(), Normalise(self.data.images))
        self.generator = generator(self.data.images, NOISE, output).to(run.device)
        self.student = run.untrained_model("student")
        self.generator_optimizer = Adam(self.generator.parameters(), settings.generator_lr, betas=(0.5, 0.999))
        self.optimizer = SGD(
            self.student.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )

    def student_of_the_end(self) -> nn.Module:
        settings = self.settings
        for _ in self.run.epochs(settings.warm_up, self.student, self.optimizer):
            for _ in range(settings.rounds):
                self._train_generator()
        schedule = CosineAnnealingLR(self.optimizer, settings.epochs, eta_min=min(2e-4, settings.lr))
        for _ in self.run.epochs(settings.epochs, self.student, self.optimizer, schedule, settings.select):
            self.idle += 1
            for _ in range(settings.rounds):
                self._train_generator()
                self._train_student()
            self._stop_if_diverged()
        return self.student

    def _images(self) -> Tensor:
        """Return a batch of generated images; the noise is drawn on the CPU, so that devices agree."""
        noise = torch.randn(self.settings.batch_size, NOISE, generator=self.run.generator)
        images: Tensor = self.generator(noise.to(self.run.device))
        return images

    def _train_generator(self) -> None:
        self.student.eval()
        self.generator.train()
        for _ in range(self.settings.generator_steps):
            loss = self._generator_loss(self._images())
            self.run.step(self.generator_optimizer, loss, aside="generator")
            self.losses.append(loss.detach())

    def _generator_loss(self, images: Tensor) -> Tensor:
        """Return the sum of all terms; gradients flow through both networks into the generator."""
        settings = self.settings
        with batch_statistics(self.teacher) as distances:
            teacher = self.teacher(images)
        loss = settings.adversarial(teacher, self.student(images), self.forget)
        loss = loss + settings.one_hot * certainty(teacher) + settings.balance * evenness(teacher)
        if settings.bn and not distances:
            raise UnsuitableTeacher("the original has no BatchNorm, whose statistics base DFQ matches; set bn: 0")
        return loss + settings.bn * torch.stack(distances).sum() if settings.bn else loss

    def _train_student(self) -> None:
        self.student.train()
        self.generator.eval()
        for _ in range(self.settings.student_steps):
            with torch.no_grad():
                images = self._images()
                teacher = self.teacher(images)
            kept = self.settings.keeps(teacher, self.forget)
            self._take_note(teacher, kept)
            if kept.sum() < 2:  # BatchNorm needs two
                self.run.check()
                continue
            self.idle = 0
            target = self.settings.target(teacher[kept], self.forget)
            self.run.step(self.optimizer, divergences(target, self.student(images[kept])).sum(1).mean())

    def _take_note(self, teacher: Tensor, kept: Tensor) -> None:
        """Record what shows over-filtering: what the teacher sees in the images, and how many of them are left."""
        answers = torch.bincount(teacher.argmax(1), minlength=self.data.classes)
        self.run.record("kept", kept.float().mean())
        self.run.record("forget_probability", softmax(teacher, dim=1)[:, self.forget].sum(1).mean())
        self.run.record("teacher_answers", answers / len(teacher))

    def _stop_if_diverged(self) -> None:
        losses, self.losses = self.losses, []
        if not torch.stack(losses).isfinite().all():
            raise Diverged("the generator's loss is not finite")
        if self.idle > COLLAPSED:
            raise Diverged(f"no generated image was left for the student in {COLLAPSED} epochs")
