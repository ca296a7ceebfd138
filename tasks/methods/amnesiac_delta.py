"""Amnesiac unlearning as its authors meant it: take back the training steps that saw an image to forget."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD

from harness.contracts import FORGET, RETAIN, Run, View, integer, method, ranges, share_of_training
from harness.engine.train import fit
from tasks.methods._training_log import LoggedTraining, TrainingLog


@method(
    reads={RETAIN, FORGET},  # its log was made with both
    source="Graves et al. 2021, AAAI, arXiv 2010.10981; the log is of all batches, and repairing takes SGD",
)
class AmnesiacDelta:
    """Subtract from the weights what the batches with an image to forget added to them; then repair, if asked to.

    It needs a log of its own training: an original of the same recipe and initial weights, not the given one. Buffers
    and whatever the optimiser had gathered stay as they are. With batches of 64 images a forget set of 1 % is in 47 %
    of the steps, one of 10 % in all: then little but the initial weights is left, and what `repair_epochs` on retain
    make of them. The settings of the optimiser are those of the repair.
    """

    repair_epochs: int = integer(0, share_of_training(ranges.SHARE), default=0)
    lr: float = ranges.learning_rate(0.01)
    momentum: float = ranges.momentum()
    weight_decay: float = ranges.weight_decay(5e-4)
    batch_size: int = ranges.batch_size(256)

    def artifacts(self) -> tuple[LoggedTraining, ...]:
        """Return the training with its log."""
        return (LoggedTraining(),)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the logged model without these steps; what requests before this one asked for is taken back, too."""
        (training,) = self.artifacts()
        log = run.artifact(training)
        assert isinstance(log, TrainingLog)
        run.check()
        kept, seen = data.retain.ids, log.steps["ids"].flatten()
        left, hit = log.without(seen[~torch.isin(seen, kept) & (seen >= 0)])
        model = log.model.requires_grad_(True)
        with torch.no_grad():
            parameters = list(model.parameters())
            for one, own in zip(parameters, torch.split(left, [one.numel() for one in parameters]), strict=True):
                one.copy_(own.view(one.shape))
        run.record("steps_taken_back", hit.float().mean())
        run.record("log_bytes", torch.tensor(sum(one.nbytes for one in log.steps.buffers())))
        optimizer = SGD(model.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        return fit(model, data.retain, optimizer, run, epochs=self.repair_epochs, batch_size=self.batch_size)
