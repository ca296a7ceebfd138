"""SISA: it redoes what it must, and is then what a training without the forgotten images gives, bit for bit."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import ARTIFACTS, FORGET, METHODS, RETAIN, Recipe
from harness.engine.data import PartSamples
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator, seeded
from harness.engine.train import train
from tasks.methods._shards import Checkpoints, Ensemble, SisaTraining, TooFewImages
from tasks.methods.sisa import Sisa

SHARDS, SLICES, SEED = 3, 2, 4
TRAIN = torch.cat([tiny.parts("random:0.1")[RETAIN], tiny.parts("random:0.1")[FORGET]])
RECIPE = replace(tiny.SPEC.recipe, epochs=3, batch_size=8)
EPOCHS = 2
"""2 E / (R + 1) of them for each slice."""


def new_run(seed: int = SEED, recipe: Recipe = RECIPE) -> TrainingRun:
    return tiny.new_run(seed=seed, recipe=recipe)


def trained(index: Tensor = TRAIN, seed: int = SEED, shards: int = SHARDS, slices: int = SLICES) -> Checkpoints:
    """Return what SISA keeps of a training on the images at an index."""
    run, training = new_run(seed), SisaTraining(shards=shards, slices=slices)
    view = tiny.view(ARTIFACTS["sisa_training"], run, {RETAIN: index}, tiny.data())
    kept = training.make(training.network(tiny.SPEC.format, run.untrained_model), view, run)
    assert isinstance(kept, Checkpoints)
    return kept


@pytest.fixture(scope="module")
def kept() -> Checkpoints:
    return trained()


def forgotten(kept: Checkpoints, gone: Tensor) -> tuple[Ensemble, TrainingRun]:
    """Return SISA's model without the images of some ids, and the run that made it."""
    run = new_run()
    run.lend = lambda one: deepcopy(kept)
    retain = TRAIN[~torch.isin(TRAIN, gone)]
    view = tiny.view(METHODS["sisa"], run, {RETAIN: retain}, tiny.data())
    model = Sisa(shards=SHARDS, slices=SLICES).unlearn(tiny.own_copy("cnn_small"), view, run)
    assert isinstance(model, Ensemble)
    return model, run


def from_scratch(kept: Checkpoints, shard: int, gone: Tensor) -> nn.Module:
    """Train one shard from its initial weights without some images, by what the paper says and nothing of ours."""
    model, known = tiny.initial("cnn_small", SEED, f"shard {shard}"), kept.images
    for number in range(SLICES):
        own = known["ids"][(known["shards"] == shard) & (known["slices"] <= number)]
        left = torch.tensor(sorted(set(own.tolist()) - set(gone.tolist())), dtype=torch.int64)
        key = ("sisa", SEED, shard, number)
        if len(left) > 1:
            with seeded(*key):
                samples = PartSamples(tiny.data(), left, generator(*key))
                train(model, samples, replace(RECIPE, epochs=EPOCHS), new_run())
    return model


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def slice_of(kept: Checkpoints, shard: int, number: int) -> Tensor:
    """Return the ids of the images of a slice."""
    return kept.images["ids"][(kept.images["shards"] == shard) & (kept.images["slices"] == number)]


def requests(kept: Checkpoints) -> dict[str, tuple[Tensor, dict[int, int]]]:
    """Return ids to forget, and the first slice to redo by shard."""
    first, last = slice_of(kept, 0, 0), slice_of(kept, 1, SLICES - 1)
    return {
        "nothing": (TRAIN[:0], {}),
        "one of a last slice": (last[:1], {1: SLICES - 1}),
        "one of a first slice, one of a last": (torch.cat([first[:1], last[2:3]]), {0: 0, 1: SLICES - 1}),
        "two of one shard": (torch.cat([slice_of(kept, 2, 1)[:1], slice_of(kept, 2, 0)[3:4]]), {2: 0}),
        "a whole slice": (first, {0: 0}),
        "a whole shard": (torch.cat([first, slice_of(kept, 0, 1)]), {0: 0}),
        "some of every shard": (TRAIN[:20], {0: 0, 1: 0, 2: 0}),
    }


@pytest.mark.parametrize("name", requests(Checkpoints([], 1)))
def test_it_is_the_training_without_the_forgotten_images_and_redoes_no_more_than_it_must(
    kept: Checkpoints, name: str
) -> None:
    gone, first = requests(kept)[name]
    model, run = forgotten(kept, gone)
    for shard in range(SHARDS):
        assert equal(model.members[shard], from_scratch(kept, shard, gone))
        assert equal(model.members[shard], kept.after(shard, SLICES - 1)) == (shard not in first)
    sizes = [
        sum(int((~torch.isin(slice_of(kept, shard, one), gone)).sum()) for one in range(number + 1))
        for shard, start in first.items()
        for number in range(start, SLICES)
    ]
    assert run.steps == sum(EPOCHS * math.ceil(size / RECIPE.batch_size) for size in sizes)


def test_images_are_dealt_out_evenly_by_seed_and_id_alone(kept: Checkpoints) -> None:
    assert torch.equal(kept.images["ids"], TRAIN.sort().values)
    sizes = [len(slice_of(kept, shard, number)) for shard in range(SHARDS) for number in range(SLICES)]
    assert sum(sizes) == len(TRAIN)
    assert max(sizes) - min(sizes) <= 1
    shuffled = trained(TRAIN[torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(1))])
    assert equal(shuffled, kept), "the order in which a scenario lists the images makes no difference"
    assert not torch.equal(trained(seed=5).images["shards"], kept.images["shards"])


@pytest.mark.parametrize(("slices", "epochs"), [(1, 3), (2, 2), (3, 2), (5, 1), (20, 1)])
def test_slices_take_about_as_many_passes_as_the_recipe(slices: int, epochs: int) -> None:
    """2 E / (R + 1) for E = 3: 3, 2, 1.5 rounded to the even 2, 1, and never less than 1."""
    run, training = new_run(), SisaTraining(shards=1, slices=slices)
    view = tiny.view(ARTIFACTS["sisa_training"], run, {RETAIN: TRAIN}, tiny.data())
    training.make(training.network(tiny.SPEC.format, run.untrained_model), view, run)
    sizes = torch.tensor([len(part) for part in TRAIN.tensor_split(slices)]).cumsum(0).tolist()
    assert run.steps == sum(epochs * math.ceil(size / RECIPE.batch_size) for size in sizes)


def test_more_slices_than_images_are_refused() -> None:
    with pytest.raises(TooFewImages, match="sisa cannot deal 5 images out to 3 x 2 slices; take fewer"):
        trained(TRAIN[:5])


class Says(nn.Module):
    """Answers with given logits, whatever it is shown."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def answer(how: str, *members: Says) -> Tensor:
    found = Ensemble(list(members), how)(torch.zeros(1, 1))[0]
    assert isinstance(found, Tensor)
    found[1].backward()  # type: ignore[no-untyped-call]
    found = found.detach()
    assert all(member.logits.grad is not None and member.logits.grad.isfinite().all() for member in members)
    assert float(found.exp().sum()) == pytest.approx(1)
    return found


def test_models_answer_by_the_mean_of_their_softmax_or_by_votes_that_nothing_outweighs() -> None:
    sure, unsure = Says(10.0, 0.0, 0.0), Says(0.0, 0.2, 0.0)
    mean = (sure.logits.softmax(0) + 2 * unsure.logits.softmax(0)) / 3
    assert torch.allclose(answer("mean", sure, unsure, unsure).exp(), mean)
    assert answer("mean", sure, unsure, unsure).argmax() == 0
    voted = answer("vote", sure, unsure, unsure)
    assert voted.argmax() == 1, "two votes are more than one, however sure that one is"
    assert torch.allclose(voted.exp(), 7 / 8 * torch.tensor([1 / 3, 2 / 3, 0]) + mean / 8)
    assert answer("vote", sure, unsure).argmax() == 0, "a tie goes to the class of the higher mean"
    assert answer("vote", Says(0.0, 50.0, 0.0), Says(1.0, 0.0, 0.0)).argmax() == 1
