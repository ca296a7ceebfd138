"""Networks trained at once: each is what it is when it is trained alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import Recipe
from harness.engine.data import DeviceData, PartSamples
from harness.engine.evaluate import evaluate
from harness.engine.models import finite
from harness.engine.seeding import generator
from harness.engine.stacked import Member, Stack, epoch_of, obstacle, train_together
from harness.engine.train import train

RECIPE = Recipe(epochs=2, batch_size=9, lr=0.05)
SIZES = (40, 27, 36)
"""Images of each network: batches of 8, of 9, of 9; five, three and four of them."""
DOUBLE = torch.float64
SAME = {"rtol": 1e-9, "atol": 1e-12}
TURNED = replace(tiny.SPEC.augmentation, rotation=20.0)


def members(
    build: Callable[[int], nn.Module], data: DeviceData, sizes: Sequence[int] = SIZES, recipe: Recipe = RECIPE
) -> list[Member]:
    """Return untrained networks of as many seeds, each with its own images and its own draws."""
    dtype = data.scale.dtype
    found = []
    for seed, size in enumerate(sizes):
        run = tiny.new_run(seed=seed, recipe=recipe)
        index = torch.randperm(tiny.DEVELOPMENT, generator=generator("images", seed))[:size]
        found.append(Member(build(seed).to(dtype), PartSamples(data, index, run.generator), run))
    return found


def of(architecture: str) -> Callable[[int], nn.Module]:
    return lambda seed: tiny.initial(architecture, seed)


def trained_alone(*given: object, recipe: Recipe = RECIPE) -> list[Member]:
    found = members(*given, recipe=recipe)  # type: ignore[arg-type]
    for one in found:
        train(one.model, one.samples, recipe, one.run)
    return found


def trained_at_once(*given: object, recipe: Recipe = RECIPE) -> list[Member]:
    found = members(*given, recipe=recipe)  # type: ignore[arg-type]
    train_together(found, recipe)
    return found


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("architecture", ["cnn_small", "vit_tiny"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_each_has_the_weights_and_statistics_that_it_has_alone(
    architecture: str, optimizer: Literal["sgd", "adamw"], schedule: Literal["cosine", "constant"]
) -> None:
    """In double precision, where rounding does not hide a difference; images are cropped, mirrored and turned."""
    data = replace(tiny.data(DOUBLE), augmentation=TURNED)
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule, lr=0.05 if optimizer == "sgd" else 1e-3)
    alone = trained_alone(of(architecture), data, recipe=recipe)
    at_once = trained_at_once(of(architecture), data, recipe=recipe)
    for one, other in zip(at_once, alone, strict=True):
        assert one.run.steps == other.run.steps
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), **SAME)
        assert torch.equal(one.run.generator.get_state(), other.run.generator.get_state())
    assert len({one.run.steps for one in alone}) > 1, "some rest while others go on"


def test_a_resnet_has_the_weights_that_it_has_alone() -> None:
    recipe, given = replace(RECIPE, epochs=1, batch_size=5), (of("resnet18_cifar"), tiny.data(DOUBLE), (11, 9))
    alone, at_once = trained_alone(*given, recipe=recipe), trained_at_once(*given, recipe=recipe)
    for one, other in zip(at_once, alone, strict=True):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), rtol=1e-6, atol=1e-9)


def test_in_single_precision_phi_is_within_a_thousandth() -> None:
    alone, at_once = (train(of("cnn_small"), tiny.data()) for train in (trained_alone, trained_at_once))
    for one, other in zip(at_once, alone, strict=True):
        found, own = (evaluate(each.model, tiny.data(), torch.arange(tiny.COUNT)).phi for each in (one, other))
        np.testing.assert_allclose(found, own, atol=1e-3, rtol=0)
        assert np.ptp(own) > 1, "they have learned something"


def test_half_precision_is_that_of_the_recipe() -> None:
    """It is not fp32, and what is learned is as near to what is learned alone as bf16 is to fp32."""
    given = of("cnn_small"), tiny.data()

    def phi(trained: Callable[..., list[Member]], *, low: bool) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16, enabled=low, cache_enabled=False):
            found = trained(*given)
        return np.stack([evaluate(one.model, tiny.data(), torch.arange(tiny.COUNT)).phi for one in found])

    alone, at_once, full = phi(trained_alone, low=True), phi(trained_at_once, low=True), phi(trained_alone, low=False)
    assert np.abs(at_once - full).max() > 1e-3
    assert np.abs(at_once - alone).mean() < np.abs(alone - full).mean()


@given(sizes=st.lists(st.integers(2, 48), min_size=1, max_size=5), batch=st.integers(2, 20))
@settings(deadline=None, max_examples=40)
def test_batches_are_those_of_each_alone(sizes: list[int], batch: int) -> None:
    data = replace(tiny.data(), augmentation=TURNED)
    one, other = (members(of("cnn_small"), data, sizes) for _ in range(2))
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in sizes]
    for batches in epoch_of([member.samples for member in one], batch):
        images = batches.images(data)
        for number, size in enumerate(batches.sizes.tolist()):
            assert (size == 0) == (number in batches.resting)
            if size:
                found[number].append((images[number, :size], batches.labels[number, :size]))
    for own, member in zip(found, other, strict=True):
        wanted = list(member.samples.batches(batch, augment=True))
        assert len(own) == len(wanted)
        for (images, labels), alone in zip(own, wanted, strict=True):
            torch.testing.assert_close(images, alone.images, rtol=0, atol=1e-5)  # rotation rounds by its place
            assert torch.equal(labels, alone.labels)


def test_one_that_diverges_leaves_the_others_as_they_are() -> None:
    def broken(seed: int) -> nn.Module:
        model = tiny.initial("cnn_small", seed)
        if seed == 1:
            for weights in model.parameters():
                weights.data.fill_(torch.inf)
        return model

    sound, with_broken = (trained_at_once(build, tiny.data(DOUBLE)) for build in (of("cnn_small"), broken))
    assert [finite(one.model) for one in with_broken] == [True, False, True]
    for number in (0, 2):
        states = (found[number].model.state_dict() for found in (with_broken, sound))
        torch.testing.assert_close(*states, **SAME)


def test_frozen_weights_stay_and_differ_from_network_to_network() -> None:
    def frozen(seed: int) -> nn.Module:
        model = tiny.initial("cnn_small", seed)
        model[0][0].weight.requires_grad_(False)  # type: ignore[index]
        return model

    given = frozen, tiny.data(DOUBLE)
    assert obstacle(members(*given)) == ""
    for one, other in zip(trained_at_once(*given), trained_alone(*given), strict=True):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), **SAME)


@pytest.mark.parametrize("architecture", ["cnn_small", "vit_tiny", "allcnn", "resnet18_cifar"])
def test_networks_that_can_be_stacked(architecture: str) -> None:
    found = members(of(architecture), tiny.data())
    before = [copy.deepcopy(one.model.state_dict()) for one in found]
    states = [one.run.generator.get_state() for one in found], torch.get_rng_state()
    assert obstacle(found) == ""
    assert [one.run.generator.get_state().tolist() for one in found] == [state.tolist() for state in states[0]]
    assert torch.equal(torch.get_rng_state(), states[1])
    for one, own in zip(found, before, strict=True):
        torch.testing.assert_close(one.model.state_dict(), own, rtol=0, atol=0)


class _SeesItsBatch(nn.Module):
    """Centres what it is given over the batch, which is no layer that the stack knows."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0)


class _Counts(nn.Module):
    """Remembers the mean of what it has seen."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen.copy_(inputs.detach().mean())
        return inputs


class _Branches(nn.Module):
    """Does something else where what it is given is large."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if inputs.mean() > 0 else 2 * inputs


class _Idle(nn.Module):
    """Has a weight that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: nn.Dropout(0.5), "random"),
        (_SeesItsBatch, "not what it is alone"),
        (_Counts, ""),
        (_Branches, "data-dependent"),
        (_Idle, "not what it is alone"),
    ],
)
def test_what_cannot_be_stacked_is_found_by_trying(layer: Callable[[], nn.Module], why: str) -> None:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), layer(), nn.Linear(5, tiny.CLASSES))

    found = obstacle(members(build, tiny.data()))
    assert found
    assert why in found


def test_the_drop_path_of_tinyvit_is_an_obstacle() -> None:
    assert "random" in obstacle(members(of("tinyvit_tiny"), tiny.data()))


def test_batchnorm_without_weights_or_with_a_cumulative_average() -> None:
    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        norms = nn.BatchNorm1d(5, affine=False), nn.BatchNorm1d(5, momentum=None)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), *norms, nn.Linear(5, tiny.CLASSES))

    given = build, tiny.data(DOUBLE)
    for one, other in zip(trained_at_once(*given), trained_alone(*given), strict=True):
        torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), **SAME)


def test_a_stack_gives_back_what_it_was_given() -> None:
    models = [tiny.initial("cnn_small", seed) for seed in range(3)]
    stack = Stack(models)
    for number, model in enumerate(models):
        assert stack.state(number).keys() == model.state_dict().keys()
        torch.testing.assert_close(stack.state(number), dict(model.state_dict()), rtol=0, atol=0)
