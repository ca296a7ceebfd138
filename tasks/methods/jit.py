"""JIT unlearning: make the model smooth around the images to forget, with nothing but those images."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.optim import SGD

from harness.contracts import FORGET, Run, View, choice, fixed, log_uniform, method
from harness.errors import HarnessError
from tasks.methods._moved import TINY, relative_change


class NoNoise(HarnessError):
    """A deviation of 0: no image has a neighbour."""


@method(reads={FORGET}, name="jit", source="Foster et al. 2024, arXiv 2402.01401")
class JIT:
    """Take one pass of plain SGD on how much the logits of forget images change with noise on the pixels: no label.

    x' = x + `sigma` x noise, clamped to the range of the batch's normalised pixels; the loss is the sum over the batch
    of the mean over `neighbours` of ||f(x) - f(x')|| / ||x - x'||. Images come in their own order, not augmented.
    `gradient` is `clean`: only f(x) is differentiated, as in the released code, so that the gradient grows as
    1 / sigma; or `both`: f(x'), too, in memory for all neighbours at once. `mode` is the model's in both passes; in
    `train` each of them moves the statistics of BatchNorm.
    """

    lr: float = log_uniform(1e-5, 2, default=3e-4)
    sigma: float = log_uniform(0.01, 2, default=0.5)
    neighbours: int = choice(10, 25, default=25)
    batch_size: int = fixed(128, least=1)
    gradient: str = fixed("clean", options=("clean", "both"))
    mode: str = fixed("eval", options=("eval", "train"))

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the smoothed model; `NoNoise` where sigma is 0. Warns where no weight has moved."""
        if self.sigma == 0:
            raise NoNoise(f"{data.method}.sigma is 0; it must be above 0, for an image has no neighbour without noise")
        model.train(self.mode == "train")
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer = SGD(model.parameters(), self.lr)
        for _ in run.epochs(1, model, optimizer):
            for images, _, _ in data.forget.batches(self.batch_size, shuffle=False):
                roughness = self._roughness(model, images, run)
                run.step(optimizer, roughness.sum())
                run.record("roughness", roughness.mean())
            moved = relative_change(before, list(model.parameters()))
            run.record("moved", moved)
        if not bool(moved):
            warnings.warn(f"{data.method}: the model is the original: no weight moved; raise lr / sigma", stacklevel=2)
        return model

    def _roughness(self, model: nn.Module, images: Tensor, run: Run) -> Tensor:
        """Return how much the logits of each image change with noise, per unit of it, [B]."""
        logits = model(images)
        ratios = []
        for _ in range(self.neighbours):
            run.check()
            near = neighbour(images, self.sigma, run.generator)
            with torch.set_grad_enabled(self.gradient == "both"):
                changed = model(near)
            distance = vector_norm((images - near).flatten(1), dim=1).clamp(min=TINY)
            ratios.append(vector_norm(logits - changed, dim=1) / distance)
        return torch.stack(ratios).mean(0)


def neighbour(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Return images [B, C, H, W] under Gaussian noise, none of it outside the range of the whole batch.

    The noise is drawn on the CPU, so that devices agree.
    """
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    return (images + sigma * noise).clamp(images.min(), images.max())
