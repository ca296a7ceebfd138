"""Influence unlearning: exact where it can be, a plain restatement elsewhere, its sign, and where it stops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from harness.check import problem as tiny
from harness.contracts import FORGET, RETAIN, Stopped
from harness.contracts.space import Value
from harness.engine.models import digest
from tasks.methods._released import ReleasedCodeCrashes

PARTS = tiny.uneven_parts()
DAMPING = 1000


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, tiny.CLASSES)).double()


def influence(model: nn.Module, index: tiny.Parts = PARTS, **values: Value) -> nn.Module:
    source = tiny.data(torch.float64)
    return tiny.unlearn("influence_unlearning", tiny.new_run(), index, values, model=model, source=source)


def loss(model: nn.Module, positions: Tensor) -> Tensor:
    source = tiny.data(torch.float64)
    return cross_entropy(model(source.batch(positions)), source.labels[positions])


def gradient_of_linear(model: nn.Sequential, positions: Tensor) -> Tensor:
    """Mean of (p - e_y) x^T and of (p - e_y), in one vector."""
    source = tiny.data(torch.float64)
    images = source.batch(positions).flatten(1)
    slope = model(images).detach().softmax(1) - one_hot(source.labels[positions], tiny.CLASSES)
    return torch.cat([(slope.T @ images / len(images)).flatten(), slope.mean(0)])


def gradient(model: nn.Module, positions: Tensor) -> Tensor:
    model.zero_grad()
    loss(model, positions).backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def moved(after: nn.Module, before: nn.Module) -> Tensor:
    pairs = zip(after.parameters(), before.parameters(), strict=True)
    return torch.cat([(new - old).detach().flatten() for new, old in pairs])


@pytest.mark.parametrize("variant", ["default", "reference"])
def test_is_exact_where_all_gradients_of_samples_are_parallel(variant: str) -> None:
    alpha, count = 0.3, 9
    index = {**PARTS, RETAIN: PARTS[RETAIN][:1].repeat(count)}
    g = gradient_of_linear(linear(), index[RETAIN])
    direction = len(PARTS[FORGET]) / (count + len(PARTS[FORGET])) * (gradient_of_linear(linear(), PARTS[FORGET]) - g)
    matrix = torch.eye(len(g)) + (count - 1) / DAMPING * torch.outer(g, g)  # the first sample makes no update
    expected = alpha * torch.linalg.inv(matrix) @ direction
    found = moved(influence(linear(), index, alpha=alpha, variant=variant), linear())
    torch.testing.assert_close(found, expected)
    assert float((found - alpha * direction).norm() / found.norm()) > 0.1  # the matrix does matter here


def test_ends_in_the_weights_of_a_plain_loop() -> None:
    before = tiny.own_copy("cnn_small", torch.float64).eval()
    remaining, leaving = len(PARTS[RETAIN]), len(PARTS[FORGET])
    total = remaining + leaving
    forgotten = gradient(before, PARTS[FORGET]) * leaving / total
    kept = leaving / (total * remaining) * gradient(before, PARTS[RETAIN]) * remaining
    k, o = forgotten - kept, gradient(before, PARTS[RETAIN][:1])
    for position in PARTS[RETAIN][1:]:
        g = gradient(before, position[None])
        t = torch.dot(o, g)
        k, o = k - torch.dot(k, g) / (DAMPING + t) * o, o - t / (DAMPING + t) * o
    after = influence(tiny.own_copy("cnn_small", torch.float64).train(), alpha=0.5)
    torch.testing.assert_close(moved(after, before), 0.5 * k, rtol=1e-9, atol=1e-12)
    assert digest(dict(after.named_buffers())) == digest(dict(before.named_buffers()))


def test_the_forget_loss_rises_with_alpha_on_a_convex_problem() -> None:
    models = [influence(linear(), alpha=alpha) for alpha in (0.0, 0.01, 0.02)]
    losses = [float(loss(model, PARTS[FORGET]).detach()) for model in models]
    assert losses == sorted(set(losses))
    assert digest(models[0].state_dict()) == digest(linear().state_dict())


def test_the_recursion_sees_the_first_1002_retain_images_one_by_one_in_their_order() -> None:
    index = {**PARTS, RETAIN: PARTS[RETAIN].repeat(39)}  # 1014
    model = linear()
    with tiny.seen_by(model) as batches:
        influence(model, index)
    alone = torch.cat([batch for batch in batches if len(batch) == 1])
    assert tiny.positions_of(alone, tiny.data(torch.float64)) == index[RETAIN][:1002].tolist()


def test_stops_inside_the_recursion_when_told() -> None:
    run, model, batches = tiny.new_run(), linear(), list[Tensor]()
    run.should_stop = lambda: len(batches) == 7  # two passes of one batch each come before
    model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0]))
    with pytest.raises(Stopped):
        tiny.unlearn("influence_unlearning", run, PARTS, {}, model=model, source=tiny.data(torch.float64))
    assert [len(batch) for batch in batches] == [len(PARTS[FORGET]), len(PARTS[RETAIN])] + 5 * [1]
    assert digest(model.state_dict()) == digest(linear().state_dict())


def test_a_parameter_without_gradient_stays_and_reference_refuses_it_if_it_is_an_attention_bias() -> None:
    model = linear()
    model.register_parameter("attention_biases", nn.Parameter(torch.ones(5).double()))
    with pytest.raises(ReleasedCodeCrashes, match="influence_unlearning, variant reference"):
        influence(model, variant="reference")
    assert torch.equal(model[1].weight, linear()[1].weight)
    influence(model)
    assert torch.equal(model.attention_biases, torch.ones(5).double())
    torch.testing.assert_close(model[1].weight, influence(linear())[1].weight)
    assert not torch.equal(model[1].weight, linear()[1].weight)
