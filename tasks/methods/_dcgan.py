"""A GAN of one part of the data, which methods may share: the two networks of DCGAN, for square images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softmax
from torch.optim import Adam

from harness.contracts import FORGET, RETAIN, Batch, Diverged, ImageFormat, Run, Samples, View, artifact, fixed
from harness.errors import HarnessError
from tasks.methods._data_free import Normalise

NOISE = 100
SMALLEST = 7
"""A side is halved until it has at most so many pixels."""
FEWEST = 4
"""Images that a GAN needs: with fewer, a batch has no statistics."""
JUDGED, SHOWN = 512, 64
"""Samples that the original answers after each epoch, and how many of them are shown."""
EPOCHS = 20
COLLAPSED = 0.01
"""Samples that differ by less than this share of what real images do, by standard deviation, are one image."""


class UnsuitableImages(HarnessError):
    """Images that no GAN can be made of: too few, or of a shape that its networks do not have."""


@artifact(
    reads={RETAIN, FORGET},
    source="Radford et al. 2016, arXiv 1511.06434; sizes, steps and rates are this harness's choice",
)
class Dcgan:
    """An unconditional GAN fitted to one part of the data: retain, forget, or both; its generator is what is shared.

    Non-saturating loss, Adam with betas 0.5 and 0.999, pixels in [-1, 1], no augmentation. `steps` are counted and not
    epochs, because the parts differ much in size; `width` is that of the layers next to the image, doubled with each
    halving of its side. The curves have 20 points: after each, the shares of the original's
    answers to 512 samples by class, and its mean confidence in them.
    """

    of: str = fixed("retain", options=("retain", "forget", "both"))
    steps: int = fixed(20_000, least=1)
    batch_size: int = fixed(128, least=2)
    width: int = fixed(64, least=1)
    lr: float = fixed(2e-4)

    def network(self, images: ImageFormat) -> nn.Module:
        """Return the untrained generator: noise [B, 100] to pixels [B, C, H, W] in [-1, 1]."""
        return generator(images, self.width)

    def make(self, network: nn.Module, original: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the trained generator. Raises `Diverged` where it is not finite or makes one image only."""
        samples = self._samples(data)
        if len(samples) < FEWEST:
            raise UnsuitableImages(f"a GAN needs {FEWEST} images at least; {self.of} has {len(samples)}")
        critic = discriminator(data.images, self.width).to(run.device)
        adam, adam_critic = (Adam(net.parameters(), lr=self.lr, betas=(0.5, 0.999)) for net in (network, critic))
        reals, to_pixels, to_input = _endless(samples, self.batch_size), *_formats(data.images, run)
        judged = _noise(JUDGED, run)
        for epoch in run.epochs(epochs := min(EPOCHS, self.steps), network, adam):
            for _ in range((epoch + 1) * self.steps // epochs - epoch * self.steps // epochs):
                real = 2 * to_pixels(next(reals).images) - 1
                _duel(network, critic, real, adam, adam_critic, run)
            if run.observed:
                _note(original(to_input(sampled(network, judged))), run)
        images = sampled(network, judged)
        run.show(f"samples of {self.of}", images[:SHOWN])
        _check(images, to_pixels(next(_endless(samples, JUDGED)).images))
        return network

    def _samples(self, data: View) -> Samples:
        if self.of == "both":
            return data.retain_and_forget
        return data.retain if self.of == "retain" else data.forget


def sampled(network: nn.Module, noise: Tensor) -> Tensor:
    """Return images [n, C, H, W], pixels in [0, 1], of a generator with its kept statistics."""
    network.eval()
    with torch.no_grad():
        images = torch.cat([network(part) for part in torch.split(noise, JUDGED)])
    network.train()
    return (images.float() + 1) / 2


def generator(images: ImageFormat, width: int = 64) -> nn.Module:
    """Return DCGAN's generator; 1,068,928 parameters at 3 x 32 x 32 and width 64."""
    channels, side, widths = _plan(images, width)
    layers: list[nn.Module] = [nn.Unflatten(1, (NOISE, 1, 1)), nn.ConvTranspose2d(NOISE, widths[-1], side, bias=False)]
    for before, after in zip(reversed(widths), [*reversed(widths[:-1]), channels], strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
    return nn.Sequential(*layers, nn.Tanh()).apply(_initialise)


def discriminator(images: ImageFormat, width: int = 64) -> nn.Module:
    """Return DCGAN's discriminator: images in [-1, 1] to logits [B]; 663,296 parameters as above."""
    channels, side, widths = _plan(images, width)
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
        layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
        layers += [nn.BatchNorm2d(after)] if number else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, side, bias=False), nn.Flatten(0)).apply(_initialise)


def _plan(images: ImageFormat, width: int) -> tuple[int, int, list[int]]:
    """Return the channels of the images, the smallest side, and the widths from the image inwards."""
    channels, side, other = images.shape
    widths: list[int] = []
    while side > SMALLEST and side % 2 == 0:
        widths.append(width * 2 ** len(widths))
        side //= 2
    if side > SMALLEST or side != other >> len(widths) or not widths:
        raise UnsuitableImages(f"no GAN for images of {images.shape[1]} x {other}: squares of 8, 28, 32, 64, 224, …")
    return channels, side, widths


def _initialise(layer: nn.Module) -> None:
    """Draw the weights as DCGAN does."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


def _duel(network: nn.Module, critic: nn.Module, real: Tensor, adam: Adam, adam_critic: Adam, run: Run) -> None:
    """Take a step of the discriminator, then one of the generator, on the same fakes."""
    fake = network(_noise(len(real), run))
    critic.requires_grad_(True)
    run.step(adam_critic, _loss(critic(real), 1.0) + _loss(critic(fake.detach()), 0.0), aside="discriminator")
    critic.requires_grad_(False)
    run.step(adam, _loss(critic(fake), 1.0))


def _note(logits: Tensor, run: Run) -> None:
    """Record what the original takes samples for: the shares of its answers by class, and its confidence in them."""
    answers = softmax(logits, dim=1)
    run.record("teacher_answers", answers.argmax(1).bincount(minlength=logits.shape[1]) / len(logits))
    run.record("confidence", answers.amax(1).mean())


def _loss(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _noise(count: int, run: Run) -> Tensor:
    return torch.randn(count, NOISE, generator=run.generator).to(run.device)


def _endless(samples: Samples, size: int) -> Iterator[Batch]:
    while True:
        yield from samples.batches(min(size, len(samples)))


def _formats(images: ImageFormat, run: Run) -> tuple[nn.Module, nn.Module]:
    """Return what turns a classifier's input into pixels in [0, 1], and what turns pixels into its input."""
    to_input = Normalise(images).to(run.device)
    inverse = images._replace(
        mean=tuple(-mean / std for mean, std in zip(images.mean, images.std, strict=True)),
        std=tuple(1 / std for std in images.std),
    )
    return Normalise(inverse).to(run.device), to_input


def _check(images: Tensor, reals: Tensor) -> None:
    if not torch.isfinite(images).all():
        raise Diverged("the GAN's images are not finite")
    if images.std(0).mean() < COLLAPSED * reals.std(0).mean():
        raise Diverged("the GAN has collapsed: all its images are one")
