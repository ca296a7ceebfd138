"""UNSIR: noise that the original is wrong about impairs the classes to forget; some real images repair the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from harness.contracts import RETAIN, Run, View, choice, integer, method, ranges
from tasks.methods._batches import sample_of_each_class
from tasks.methods._data_free import CLASS_REQUESTS, classes_to_forget
from tasks.methods._mixing import mixed_batches

NOISE_LR = 0.1


@method(reads={RETAIN}, scenarios=CLASS_REQUESTS, source="Tarun et al. 2023, IEEE TNNLS, arXiv 2111.08947")
class Unsir:
    """Learn noise that maximises the error on each class to forget, train on it and on some retain images, then repair.

    The noise of a class, one batch of images, minimises -CE(model, class) + `reg` x the mean over images of the sum of
    squared pixels, by Adam in `noise_steps` steps; the model is in eval mode and stays as it is. Impairing is one epoch
    over `copies` of all noise images and `per_class` retain images of every class to keep, repairing one over the
    latter alone, both by Adam in train mode. The released code labels the noise of all classes as one, and of each of
    20 copies of a noise batch trains on three images: with all of them one copy is more noise already, and 20 are more
    than a small retain sample can balance. The share of noise images that are still taken for their class, because the
    penalty outweighs the error, is recorded as `noise_taken_for_class`.
    """

    lr_impair: float = ranges.learning_rate(0.02)
    lr_repair: float = ranges.learning_rate(0.01)
    batch_size: int = ranges.batch_size(256)
    per_class: int = choice(100, 500, 1000, default=1000)
    noise_steps: int = choice(25, 40, 250, default=40)
    reg: float = choice(0.01, 0.1, 1.0, default=0.1)
    copies: int = integer(1, 20, default=1)

    def unlearn(self, model: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the model after impairing and repairing; raises `NotAClassRequest`."""
        forget = classes_to_forget(data)
        noise = torch.cat([self._noise(model, label, data, run) for label in forget])
        labels = torch.tensor(forget, device=run.device).repeat_interleave(self.batch_size)
        kept = sample_of_each_class(data.retain, forget, self.per_class, run.generator)
        model.train()
        impair = Adam(model.parameters(), self.lr_impair)
        for _ in run.epochs(1, model, impair):
            for images, targets in mixed_batches(kept, noise, labels, self.batch_size, run.generator, self.copies):
                run.step(impair, cross_entropy(model(images), targets))
        repair = Adam(model.parameters(), self.lr_repair)
        for _ in run.epochs(1, model, repair):
            for images, targets, _ in kept.batches(self.batch_size):
                run.step(repair, cross_entropy(model(images), targets))
        return model

    def _noise(self, model: nn.Module, label: int, data: View, run: Run) -> Tensor:
        """Return noise [B, C, H, W] that the model in eval mode takes for anything but the label."""
        model.eval().requires_grad_(False)
        noise = torch.randn(self.batch_size, *data.images.shape, generator=run.generator).to(run.device)
        noise.requires_grad_()
        labels = torch.full((self.batch_size,), label, device=run.device)
        optimizer = Adam([noise], NOISE_LR)
        for _ in range(self.noise_steps):
            size = noise.square().sum((1, 2, 3)).mean()
            run.step(optimizer, self.reg * size - cross_entropy(model(noise), labels), aside="noise")
        if run.observed:
            with torch.no_grad():
                run.record("noise_taken_for_class", (model(noise).argmax(1) == label).float().mean())
        model.requires_grad_(True)
        return noise.detach()
