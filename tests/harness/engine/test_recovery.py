"""What brings forgotten images back, on small models: copies alone change, and only what was shown is learned from."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.engine import linear_head, recovery
from harness.engine.information import fisher_trace
from harness.engine.models import digest
from harness.engine.run import TrainingRun
from harness.engine.seeding import generator
from harness.metrics.probed import SHOTS

INDEX = torch.arange(12)


@pytest.fixture
def run() -> TrainingRun:
    return tiny.new_run()


@given(st.integers(0, 300), st.integers(0, 5))
def test_what_may_be_shown_and_what_is_asked_about_share_no_image_and_fewer_shots_are_the_first_of_more(
    count: int, seed: int
) -> None:
    index = torch.arange(1000, 1000 + count)
    shown, unused = recovery.divided(index, SHOTS, generator("d", seed))
    assert sorted(torch.cat([shown, unused]).tolist()) == index.tolist()
    assert recovery.possible(SHOTS, count) == [k for k in SHOTS if count >= 2 * k]
    assert len(shown) == max(k for k in SHOTS if count >= 2 * k) <= len(unused)


def test_steps_are_those_of_plain_sgd_on_all_images_shown_in_evaluation_mode(run: TrainingRun) -> None:
    model = tiny.own_copy("cnn_small").train()
    before = digest(model.state_dict())
    found = recovery.relearned(model, tiny.data(), INDEX[:5], run)
    assert (digest(model.state_dict()), run.steps) == (before, recovery.STEPS)
    expected, recipe = tiny.own_copy("cnn_small").eval(), run.recipe
    momentum = {name: torch.zeros_like(one) for name, one in expected.named_parameters()}
    images, labels = tiny.data().batch(INDEX[:5]), tiny.data().labels[:5]
    for _ in range(10):
        loss = cross_entropy(expected(images), labels)
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for (name, weights), gradient in zip(expected.named_parameters(), gradients, strict=True):
                momentum[name] = recipe.momentum * momentum[name] + gradient
                weights.sub_(recipe.lr / 10 * momentum[name])
    for name, one in found.state_dict().items():
        torch.testing.assert_close(one, expected.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert digest(recovery.relearned(model, tiny.data(), INDEX[:0], run).state_dict()) == before


def test_the_order_of_what_is_shown_does_not_matter(run: TrainingRun) -> None:
    model = tiny.own_copy("cnn_small")
    one, other = (recovery.relearned(model, tiny.data(), index, run) for index in (INDEX, INDEX.flip(0)))
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)


def test_noise_is_five_percent_of_each_tensor_and_none_of_one_that_is_zero() -> None:
    large = nn.Linear(300, 300)
    model = nn.Sequential(nn.Linear(300, 300), large)
    with torch.no_grad():
        large.weight.mul_(1000)
        large.bias.zero_()
    before = digest(model.state_dict())
    other = recovery.shaken(model, generator("noise"))
    assert digest(model.state_dict()) == before
    for name, weights in model.named_parameters():
        moved = (other.get_parameter(name) - weights).detach()
        share = 0.0 if name == "1.bias" else 0.05
        assert float(moved.norm()) == pytest.approx(share * float(weights.detach().norm()), rel=0.15)


def test_a_head_learns_what_can_be_told_apart_and_nothing_else(run: TrainingRun) -> None:
    draws = generator("features")
    labels = torch.arange(300) % 3
    noise = torch.randn(300, 8, generator=draws)
    apart = noise + 5 * torch.nn.functional.one_hot(labels, 8)
    seen, asked = slice(0, 200), slice(200, 300)
    for features, low, high in ((apart, 0.95, 1.0), (noise, 0.1, 0.6)):
        head = linear_head.train_head(features[seen], labels[seen], 3, generator("head"), run)
        assert low <= linear_head.accuracy_of(head, features[asked], labels[asked]) <= high
        again = linear_head.train_head(features[seen], labels[seen], 3, generator("head"), run)
        assert torch.equal(head.weight, again.weight)
    assert run.steps == 4 * 500
    assert linear_head.scale_of(7 * torch.ones(2, 3)) == pytest.approx(7)
    assert linear_head.scale_of(torch.zeros(2, 3)) == 1


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
def test_few_shots_are_so_many_of_each_class_or_all_it_has(labels: list[int], shots: int) -> None:
    found = linear_head.shots_of_each(torch.tensor(labels), shots, generator("few"))
    assert len(set(found.tolist())) == len(found)
    picked = [labels[one] for one in found]
    assert {one: picked.count(one) for one in set(labels)} == {one: min(shots, labels.count(one)) for one in labels}


def test_the_trace_of_the_information_is_that_of_a_linear_softmax_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    found = fisher_trace(model, tiny.data(), INDEX)
    images, labels = tiny.data().batch(INDEX), tiny.data().labels[INDEX]
    wrong = model(images).softmax(1).detach().double() - torch.nn.functional.one_hot(labels, 4)
    expected = (wrong.square().sum(1) * (images.double().flatten(1).square().sum(1) + 1)).mean()
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert math.isnan(fisher_trace(model, tiny.data(), INDEX[:0]))
