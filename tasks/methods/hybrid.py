"""The ten methods of the hybrid gradient-reversal report: fine-tuning on retain, reversed gradients on forget.

Dhinakaran 2024, "Efficient Machine Unlearning for Deep Neural Networks", a project report with a notebook. Each method
is a list of phases (`tasks.methods._reversal`) and starts from the original; in the notebook each started where the one
before it had ended, so its tables do not hold for these schedules. Defaults are what the report says and, where it is
silent, what the notebook does; `variant: notebook` has the settings of the runs behind the tables. Nothing is chosen by
validation images: the notebook's best epoch restored nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, View, family, fixed, method, ranges, uniform, variants
from tasks.methods._reversal import (
    EVAL,
    SHARES,
    TRAIN,
    Phase,
    fine_tuning,
    follow,
    forget_only,
    one_after_the_other,
    paired,
    rising,
    woven,
)

SOURCE = "Dhinakaran 2024, Efficient Machine Unlearning for Deep Neural Networks (project report)"
LAST_BLOCK = 1
"""The last block, with the head: `layer4` and `fc` of a ResNet18."""
SELECTIVE = "selective"


def reversed_loss(default: float) -> Any:
    """Declare what the loss of forget is multiplied with: below 0, or it reverses nothing."""
    return uniform(-1.0, 0.0, default=default)


def bn_mode(default: str = EVAL) -> Any:
    """Declare the mode of BatchNorm in what is frozen; the notebook let it average on."""
    return fixed(default, options=(EVAL, TRAIN))


def growth(default: str) -> Any:
    """Declare how the scale grows from 0 over the epochs."""
    return fixed(default, options=tuple(SHARES))


@family
class Scheduled(ABC):
    """What all ten have: SGD, cross-entropy, no augmentation; each pass over a part is shuffled anew."""

    lr: float = ranges.learning_rate(1e-3)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(128)

    @abstractmethod
    def phases(self, blocks: int) -> Sequence[Phase]:
        """Return what is done one after the other to a network of so many blocks."""

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after the last phase; a pass of fine-tuning counts as an epoch of the curves."""
        sgd = partial(SGD, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        phases = self.phases(len(run.architecture.blocks))
        return follow(phases, model, data, run, batch_size=self.batch_size, sgd=sgd)


@method(reads={RETAIN}, source=f"{SOURCE}, model 1, after the starting kit of the NeurIPS 2023 unlearning challenge")
class M1(Scheduled):
    """Fine-tune the whole model on retain; the learning rate falls on a cosine, once per epoch."""

    epochs: int = ranges.epochs(5)
    variant: str = variants(notebook={"epochs": ranges.epochs(100)})

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Fine-tuning alone."""
        return [fine_tuning(self.epochs)]


@method(reads={RETAIN}, source=f"{SOURCE}, model 2")
class M2(Scheduled):
    """Fine-tune the last block and the head on retain, as M1 does with all; the rest is frozen."""

    epochs: int = ranges.epochs(5)
    frozen_bn: str = bn_mode()
    variant: str = variants(notebook={"epochs": ranges.epochs(100), "frozen_bn": bn_mode(TRAIN)})

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Selective fine-tuning alone."""
        return [fine_tuning(self.epochs, LAST_BLOCK, self.frozen_bn)]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, model 3")
class M3(Scheduled):
    """M2, then one reversed pass over forget with a new optimiser; what M2 froze stays frozen.

    `reverse_bn` is the mode of the model in that pass: `eval` in the notebook.
    """

    epochs: int = ranges.epochs(10)
    reverse_scale: float = reversed_loss(-1.0)
    frozen_bn: str = bn_mode()
    reverse_bn: str = fixed(TRAIN, options=(TRAIN, EVAL))
    variant: str = variants(
        notebook={
            "epochs": ranges.epochs(60),
            "frozen_bn": bn_mode(TRAIN),
            "reverse_bn": fixed(EVAL, options=(TRAIN, EVAL)),
        }
    )

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Selective fine-tuning, and the reversed pass."""
        evaluated = self.reverse_bn == EVAL
        reversal = Phase(forget_only, (self.reverse_scale,), LAST_BLOCK, self.frozen_bn, evaluated=evaluated)
        return [fine_tuning(self.epochs, LAST_BLOCK, self.frozen_bn), reversal]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, model 4")
class M4(Scheduled):
    """In each epoch a pass over retain, then a reversed pass over forget, at a constant rate with one optimiser.

    `pre_phase: selective`, as in the notebook's cell, gives the first half of the epochs to M2, and the second half to
    this with what M2 froze still frozen; both halves are rounded down. The notebook's output below that cell is not of
    that cell: its log is that of M6.
    """

    epochs: int = ranges.epochs(10)
    reverse_scale: float = reversed_loss(-0.1)
    pre_phase: str = fixed("none", options=("none", SELECTIVE))
    frozen_bn: str = bn_mode()
    variant: str = variants(
        notebook={
            "epochs": ranges.epochs(100),
            "reverse_scale": reversed_loss(-0.3),
            "pre_phase": fixed(SELECTIVE, options=("none", SELECTIVE)),
            "frozen_bn": bn_mode(TRAIN),
        }
    )

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Alternating epochs, or the selective phase and half as many of them."""
        if self.pre_phase != SELECTIVE:
            return [Phase(one_after_the_other, (self.reverse_scale,) * self.epochs)]
        half = self.epochs // 2
        alternating = Phase(one_after_the_other, (self.reverse_scale,) * half, LAST_BLOCK, self.frozen_bn)
        return [fine_tuning(half, LAST_BLOCK, self.frozen_bn), alternating]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, model 5")
class M5(Scheduled):
    """In each epoch a step on a batch of retain and a reversed one on a batch of forget, in turn.

    An epoch ends with the smaller part: with a tenth to forget it sees a ninth of retain.
    """

    epochs: int = ranges.epochs(50)
    reverse_scale: float = reversed_loss(-0.5)
    variant: str = variants(notebook={"epochs": ranges.epochs(100), "reverse_scale": reversed_loss(-0.4)})

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Paired epochs alone."""
        return [Phase(paired, (self.reverse_scale,) * self.epochs)]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, model 6")
class M6(Scheduled):
    """M5, then fine-tuning as in M1.

    The notebook has two runs, `notebook` and `notebook2`; the row of the report's table is neither of them.
    """

    epochs: int = ranges.epochs(50)
    reverse_scale: float = reversed_loss(-0.5)
    final_epochs: int = ranges.epochs(5)
    variant: str = variants(
        notebook={
            "epochs": ranges.epochs(100),
            "reverse_scale": reversed_loss(-0.6),
            "final_epochs": ranges.epochs(15),
        },
        notebook2={"epochs": ranges.epochs(100)},
    )

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Paired epochs, then fine-tuning."""
        return [Phase(paired, (self.reverse_scale,) * self.epochs), fine_tuning(self.final_epochs)]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, hybrid 1, baseline")
class Hybrid1(Scheduled):
    """M5 with a scale that grows from 0: in epoch e = 0..E-1 it is `reverse_scale` x e / E.

    At e = 0 a reversed step has no gradient, but momentum and weight decay still move the weights. The defaults are the
    notebook's settings, since the report names none; so it has no variant.
    """

    epochs: int = ranges.epochs(50)
    reverse_scale: float = reversed_loss(-0.6)
    schedule: str = growth("linear")

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Paired epochs alone."""
        return [Phase(paired, rising(self.reverse_scale, self.epochs, self.schedule))]


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, hybrid 2, improved")
class Hybrid2(Scheduled):
    """Hybrid 1 with a scale that grows as (e / E)^2, then fine-tuning as in M1.

    The report calls the growth exponential; `schedule: exponential` takes it at its word, as (exp(4 e / E) - 1) /
    (exp(4) - 1). The defaults are the notebook's settings, since the report names none; so it has no variant.
    """

    epochs: int = ranges.epochs(50)
    reverse_scale: float = reversed_loss(-0.8)
    schedule: str = growth("quadratic")
    final_epochs: int = ranges.epochs(10)

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Paired epochs, then fine-tuning."""
        pairs = Phase(paired, rising(self.reverse_scale, self.epochs, self.schedule))
        return [pairs, fine_tuning(self.final_epochs)]


@family
class Refined(Scheduled):
    """What hybrids 3 and 4 share: passes over all of retain, fine-tuning in between, and frozen blocks."""

    epochs: int = ranges.epochs(50)
    reverse_scale: float = reversed_loss(-1.0)
    schedule: str = growth("quadratic")
    finetune_every: int = fixed(10, least=1)
    final_epochs: int = ranges.epochs(10)
    frozen_bn: str = bn_mode()

    def phases(self, blocks: int) -> Sequence[Phase]:
        """Woven epochs, each `finetune_every` of them followed by a pass of fine-tuning, and fine-tuning at the end."""
        return list(self._phases(blocks))

    def _phases(self, blocks: int) -> Iterator[Phase]:
        for epoch, scale in enumerate(rising(self.reverse_scale, self.epochs, self.schedule)):
            trained = self.trained(epoch, blocks)
            yield Phase(woven, (scale,), trained, self.frozen_bn)
            if (epoch + 1) % self.finetune_every == 0:
                yield fine_tuning(1, trained, self.frozen_bn)
        yield fine_tuning(self.final_epochs, self.trained(self.epochs - 1, blocks), self.frozen_bn)

    def trained(self, epoch: int, blocks: int) -> int:
        """Return how many of the last blocks learn in an epoch, with the head: the second half, the larger if odd."""
        return blocks - blocks // 2


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, hybrid 3, refined")
class Hybrid3(Refined):
    """Passes over retain with two reversed steps after each step while forget lasts; a scale that grows as (e / E)^2.

    After each `finetune_every` epochs, and at the end, it is fine-tuned as in M1. The stem and the first half of the
    blocks (of an odd number, the smaller half) stay frozen: all before `layer3` of a ResNet18, 1 of the 2 blocks of
    `cnn_small`, 3 of the 7 of `allcnn`, 1 of the 3 of a TinyViT. The notebook differs in BatchNorm alone.
    """

    variant: str = variants(notebook={"frozen_bn": bn_mode(TRAIN)})


@method(reads={RETAIN, FORGET}, source=f"{SOURCE}, hybrid 4, final")
class Hybrid4(Refined):
    """Hybrid 3 whose frozen blocks (not the stem) learn, too, once `unfreeze_after` x E epochs are over.

    They get a new optimiser then. The notebook's did not know them, so there they never learned, and hybrids 3 and 4
    are one algorithm: under `notebook` nothing is unfrozen.
    """

    unfreeze_after: float = ranges.share(0.3)
    variant: str = variants(notebook={"frozen_bn": bn_mode(TRAIN), "unfreeze_after": ranges.share(1.0)})

    def trained(self, epoch: int, blocks: int) -> int:
        """Return the second half of the blocks, and later all of them."""
        return super().trained(epoch, blocks) if epoch < int(self.unfreeze_after * self.epochs) else blocks
