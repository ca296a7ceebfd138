"""DELETE: the original's own answers on forget, without the label that must go."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.optim import SGD

from harness.contracts import FORGET, Run, Samples, View, choice, fixed, log_uniform, method, ranges
from harness.engine.evaluate import BATCH
from tasks.methods._labels import other_classes


@method(reads={FORGET}, source="Zhou et al. 2025, CVPR, arXiv 2503.23751")
class Delete:
    """Answer on forget images like the original would if the label to forget did not exist.

    The loss is KL(q || softmax(model)), q being the softmax of the original's logits over the other classes. `mask`
    says which are left out: `request` leaves out all classes of the request beside the image's own, `own` only the
    latter, as the released code does, which moves what one class to forget loses to the next. In `mode` eval the
    running statistics of BatchNorm stay; the released code trains in mode train, where those of forget replace them.
    """

    lr: float = log_uniform(1e-6, 1e-2, default=1e-4)
    momentum: float = ranges.momentum()
    batch_size: int = ranges.batch_size(128)
    epochs: int = ranges.epochs(20)
    mode: str = choice("eval", "train", default="eval")
    mask: str = fixed("request", options=("request", "own"))

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after distillation on the forget part alone."""
        is_open = other_classes(data, beyond_request=self.mask == "request")
        wanted = masked_answers(model, data.forget, is_open, run)
        optimizer = SGD(model.parameters(), self.lr, self.momentum)
        model.train(self.mode == "train")
        for _ in run.epochs(self.epochs, model, optimizer):
            for images, _, positions in data.forget.batches(self.batch_size):
                run.step(optimizer, divergence(model(images), wanted[positions]))
        return model


def masked_answers(model: nn.Module, samples: Samples, is_open: Tensor, run: Run) -> Tensor:
    """Return the probabilities [n, C] of a model in eval mode over the classes open [n, C] to each image."""
    model.eval()
    answers = []
    with torch.no_grad():
        for images, _, positions in samples.batches(BATCH, shuffle=False):
            run.check()
            answers.append(softmax(model(images).masked_fill(~is_open[positions], -torch.inf), dim=1))
    return torch.cat(answers) if answers else is_open.float()


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return KL(wanted || softmax(logits)), the mean over a batch [B, C]; a probability of 0 counts nothing."""
    return kl_div(log_softmax(logits, dim=1), wanted, reduction="batchmean")
