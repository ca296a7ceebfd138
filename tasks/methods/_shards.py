"""What SISA keeps of its training: which image is in which shard and slice, and a model after each slice."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.contracts import RETAIN, Build, ImageFormat, Run, Samples, View, artifact, fixed
from harness.engine.seeding import derive, generator, seeded
from harness.engine.train import train
from harness.errors import HarnessError
from tasks.methods._records import Records

FEWEST = 2
"""Images that a model is trained on: one alone has no batch statistics."""


class TooFewImages(HarnessError):
    """Fewer images than slices."""


class Checkpoints(nn.Module):
    """The shard and the slice of each image, by id, and the model of each shard after each of its slices.

    `images` holds the ids [n] of the training images and for each its `shards` [n] and `slices` [n], from 0.
    """

    def __init__(self, models: list[nn.Module], slices: int) -> None:
        super().__init__()
        self.slices = slices
        self.shards = len(models) // slices
        self.models = nn.ModuleList(models)
        self.images = Records(**{name: torch.empty(0, dtype=torch.int64) for name in ("ids", "shards", "slices")})

    def after(self, shard: int, number: int) -> nn.Module:
        """Return the model of a shard after slice `number`; it is no copy."""
        return self.models[shard * self.slices + number]

    def deal(self, samples: Samples, seed: int) -> None:
        """Deal the images out to shards and slices, in an order that follows from the seed and their ids alone."""
        if (count := len(samples)) < self.shards * self.slices:
            raise TooFewImages(
                f"sisa cannot deal {count} images out to {self.shards} x {self.slices} slices; take fewer"
            )
        shards, slices = torch.empty(2, count, dtype=torch.int64)
        order = torch.randperm(count, generator=generator("sisa", "shards", seed))
        for shard, own in enumerate(order.tensor_split(self.shards)):
            shards[own] = shard
            for number, few in enumerate(own.tensor_split(self.slices)):
                slices[few] = number
        ids = samples.ids.sort().values
        self.images.note(ids=ids, shards=shards.to(ids.device), slices=slices.to(ids.device))

    def up_to(self, shard: int, number: int, samples: Samples) -> Samples:
        """Return those of the samples that are in the slices of a shard up to `number`, in the order of their ids."""
        known, ids = self.images, samples.ids
        own = known["ids"][(known["shards"] == shard) & (known["slices"] <= number)]
        chosen = torch.isin(ids, own).nonzero().flatten()
        return samples.take(chosen[ids[chosen].argsort()])


@artifact(reads={RETAIN}, of="training", source="Bourtoule et al. 2021, IEEE S&P, arXiv 1912.03817")
class SisaTraining:
    """The models of SISA after each slice of each shard, trained on all training images."""

    shards: int = fixed(5, least=1)
    slices: int = fixed(5, least=1)

    def network(self, images: ImageFormat, build: Build) -> nn.Module:
        """Return shards x slices untrained models."""
        return Checkpoints(
            [build(f"shard {shard}") for shard in range(self.shards) for _ in range(self.slices)], self.slices
        )

    def make(self, network: nn.Module, data: View, run: Run) -> nn.Module:
        """Return the models after training; raises `TooFewImages` where a slice would be empty."""
        assert isinstance(network, Checkpoints)
        network.deal(data.retain, run.seed)
        for shard in range(self.shards):
            model = run.untrained_model(f"shard {shard}")
            for number in range(self.slices):
                learn_slice(network, model, shard, number, data.retain, run)
                network.after(shard, number).load_state_dict(model.state_dict())
        return network


def learn_slice(
    kept: Checkpoints,
    model: nn.Module,
    shard: int,
    number: int,
    samples: Samples,
    run: Run,
    whole: nn.Module | None = None,
) -> None:
    """Train a shard's model on those of the samples that are in its slices up to `number`, as SISA does at that slice.

    2 E / (R + 1) epochs of the recipe's E, rounded to whole ones and at least one, so that R slices take about as many
    steps as E epochs on the shard. Its optimiser and its random numbers are the slice's own: what was trained before,
    and where, makes no difference. With fewer than two images left there is nothing to learn.
    """
    chosen = kept.up_to(shard, number, samples)
    if len(chosen) < FEWEST:
        return
    recipe = replace(run.recipe, epochs=max(1, round(2 * run.recipe.epochs / (kept.slices + 1))))
    key = ("sisa", run.seed, shard, number)
    run.generator.manual_seed(derive(*key))  # it orders and augments the samples
    with seeded(*key):
        train(model, chosen, recipe, run, whole)


class Ensemble(nn.Module):
    """Models of one architecture that answer together; gives log-probabilities [B, C] as logits.

    `mean`: of the mean of their softmax. `vote`: of the shares of their votes, mixed with so little of that mean,
    1 / 2 (S + 1) of it for S models, that it breaks ties and never outweighs a vote.
    """

    def __init__(self, members: list[nn.Module], answer: str) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities [B, C]."""
        each = torch.stack([member(images) for member in self.members]).log_softmax(2)
        mean = each.logsumexp(0) - math.log(len(each))
        if self.answer == "mean":
            return mean
        votes = nn.functional.one_hot(each.argmax(2), each.shape[2]).to(each.dtype).mean(0)
        little = 0.5 / (len(each) + 1)
        return torch.logaddexp((votes * (1 - little)).log(), mean + math.log(little))
