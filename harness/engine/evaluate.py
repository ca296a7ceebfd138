"""One pass over images gives accuracies, losses and the signal phi together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from harness.engine.data import DeviceData, batch_bounds

BATCH = 1024


@dataclass(frozen=True)
class Evaluation:
    """What one model says about n images.

    `phi` [n] float64 is the logit-scaled confidence z_y - logsumexp of the other logits (Carlini et al. 2022,
    arXiv 2112.03570), from float32 logits; `correct` [n] bool; `answers` [n] int64 are the classes that it names.
    """

    phi: NDArray[np.float64]
    correct: NDArray[np.bool_]
    answers: NDArray[np.int64] | None = None

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in [0, 1]; NaN for no images."""
        return float(self.correct.mean()) if len(self.correct) else float("nan")

    @property
    def losses(self) -> NDArray[np.float64]:
        """Cross-entropy of each image in nats: -log p_y = log(1 + exp(-phi))."""
        with np.errstate(invalid="ignore"):  # a diverged model has no loss
            return np.logaddexp(0.0, -self.phi)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN for no images."""
        return float(self.losses.mean()) if len(self.phi) else float("nan")

    def at(self, positions: NDArray[np.int64] | slice) -> Evaluation:
        """Return the evaluation of some of the images."""
        answers = None if self.answers is None else self.answers[positions]
        return Evaluation(self.phi[positions], self.correct[positions], answers)


def signal(logits: Tensor, labels: Tensor) -> Tensor:
    """Return phi [n] float64 from logits [n, C] and labels [n], in the stable form."""
    logits = logits.double()
    target = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return target - torch.logsumexp(others, dim=1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode and every module back into its own mode afterwards.

    A method may train with some modules frozen (BatchNorm in eval mode): measuring must not thaw them.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:  # parents come first, so that a child's own mode is the last word
            if module.training != training:  # each call goes through all children
                module.train(training)


def evaluate(
    model: nn.Module, data: DeviceData, index: Tensor, labels: Tensor | None = None, *, flip: bool = False
) -> Evaluation:
    """Evaluate a model on the images at `index` [n], in eval mode, in full precision, without augmentation.

    `labels` [n] replaces the true labels where the model was trained with others; `flip` mirrors every image
    (the second query of an audit). The mode of every module is put back afterwards.
    """
    labels = data.labels.index_select(0, index) if labels is None else labels
    phis, answers = [], []
    full_precision = torch.autocast(data.device.type, enabled=False)
    with evaluating(model), torch.inference_mode(), full_precision:
        for start, stop in batch_bounds(len(index), BATCH):
            chosen = index[start:stop]
            flips = torch.ones(len(chosen), dtype=torch.bool, device=data.device) if flip else None
            logits = model(data.batch(chosen, flips)).float()
            phis.append(signal(logits, labels[start:stop]))
            answers.append(logits.argmax(1))
    if not phis:
        return Evaluation(np.empty(0), np.empty(0, dtype=bool), np.empty(0, dtype=np.int64))
    says = torch.cat(answers)
    return Evaluation(torch.cat(phis).cpu().numpy(), (says == labels).cpu().numpy(), says.cpu().numpy())


def log_probabilities(model: nn.Module, data: DeviceData, index: Tensor) -> NDArray[np.float64]:
    """Return log_softmax [n, C] of the images at `index` [n], in eval mode, without augmentation."""
    with evaluating(model), torch.inference_mode(), torch.autocast(data.device.type, enabled=False):
        batches = [
            log_softmax(model(data.batch(index[start:stop])).double(), dim=1)
            for start, stop in batch_bounds(len(index), BATCH)
        ]
    return torch.cat(batches).cpu().numpy() if batches else np.empty((0, 0))
