"""PRMQ: what is pruned and redrawn, the loss, the number of steps and the half precision at the end."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from harness.check import problem as tiny
from harness.contracts import RETAIN
from tasks.methods.prmq import class_weights, entropy, prune_smallest, redraw_zeros

PARTS = tiny.uneven_parts()


def prunable(model: nn.Module) -> dict[str, Tensor]:
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {f"{n}.{key}": p.detach() for n, m in layers.items() for key, p in m.named_parameters()}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99, 1.0])
def test_prunes_the_smallest_weights_and_biases_of_all_layers_together(share: float) -> None:
    before, model = tiny.original("cnn_small"), tiny.own_copy("cnn_small")
    prune_smallest(model, share)
    old, new = (torch.cat([p.flatten() for p in prunable(m).values()]) for m in (before, model))
    zero = new == 0
    assert int(zero.sum()) == round(share * len(old))
    assert torch.equal(new[~zero], old[~zero])
    assert zero.all() or not zero.any() or old[zero].abs().max() <= old[~zero].abs().min()
    others = {n: p for n, p in model.named_parameters() if n not in prunable(model)}
    assert others
    assert all(torch.equal(p, before.get_parameter(n)) for n, p in others.items())


def test_pruning_is_global_so_that_a_layer_of_small_weights_goes_first() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(4, 1))
    for tensor, value in zip(model.parameters(), (3.0, 0.1, 1.0, 2.0), strict=True):
        nn.init.constant_(tensor, value)
    prune_smallest(model, 6 / 11)
    assert [bool((p == 0).all()) for p in model.parameters()] == [False, True, True, False]


def test_redraws_zero_weights_within_the_bound_of_their_layer_and_leaves_biases() -> None:
    model = nn.Sequential(nn.Conv2d(16, 64, 3, groups=4), nn.Linear(100, 50))
    for tensor in model.parameters():
        nn.init.zeros_(tensor)
    with torch.no_grad():
        model[0].weight[:3] = 5.0
    redraw_zeros(model, torch.Generator().manual_seed(0))
    assert bool((model[0].weight[:3] == 5).all())
    for weight, fan_in in ((model[0].weight[3:], 4 * 9), (model[1].weight, 100)):
        bound = fan_in**-0.5
        assert 0.99 * bound < float(weight.detach().abs().max()) <= bound
        assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not model[0].bias.any()
    assert not model[1].bias.any()


def test_class_weights_fall_with_the_tenth_root_of_the_count() -> None:
    found = class_weights(torch.tensor([0] * 1024 + [2]), 3)
    assert found.tolist() == pytest.approx([0.5, 0.0, 1.0])


def test_entropy_of_known_distributions() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [200.0, 0.0, 0.0, 0.0], [0.0, 0.0, -300.0, -300.0]])
    torch.testing.assert_close(entropy(logits), torch.tensor([4.0, 1.0, 2.0]).log())


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 5), (1.2, 5), (1.5, 7), (2.2, 9)])
def test_takes_a_step_more_than_whole_batches_and_starts_a_new_pass_whenever_one_ends(
    epochs: float, steps: int
) -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches, tiny.optimizer_steps() as rates:
        tiny.unlearn("prmq", tiny.new_run(), PARTS, {"epochs": epochs, "batch_size": 8, "lr": 0.01}, model=model)
    assert rates == [0.01] * steps
    seen = [
        position for batch in batches[1::2] for position in tiny.positions_of(batch, tiny.data())
    ]  # not the teacher
    for start in range(0, len(seen), 26):
        rest = seen[start : start + 26]
        assert set(rest) <= set(PARTS[RETAIN].tolist())
        assert max(Counter(rest).values()) == 1
    assert seen[:26] != seen[26:52]


def test_every_number_of_the_final_state_fits_half_precision() -> None:
    found = tiny.unlearn("prmq", tiny.new_run(), PARTS, {"epochs": 1.5, "batch_size": 8, "lr": 0.01, "prune": 0.5})
    for name, tensor in found.state_dict().items():
        assert tensor.dtype == tiny.original("cnn_small").state_dict()[name].dtype
        assert torch.equal(tensor, tensor.half().to(tensor.dtype)), name


def two_plain_steps(index: Tensor, *, match: float) -> nn.Module:
    """From the formula, probabilities and all, with all images in one batch; `match` weighs the entropy term."""
    source, model = tiny.data(torch.float64), tiny.own_copy("cnn_small", torch.float64).train()
    images, labels = source.batch(index), source.labels[index]
    weight = torch.tensor([labels.tolist().count(c) ** -0.1 for c in labels.tolist()], dtype=torch.float64)
    teacher = tiny.own_copy("cnn_small", torch.float64).eval()(images).detach().softmax(1)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for _ in range(2):
        student = model(images).softmax(1)
        fit = -(weight * student[torch.arange(len(index)), labels].log()).sum() / weight.sum()
        sure, wanted = (-(p * p.log()).sum(1) for p in (student, teacher))
        gradients = torch.autograd.grad(fit + match * (sure - wanted).square().mean(), list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                p.sub_(0.2 * v.mul_(0.9).add_(g + 0.01 * p))
    return model


def farthest(found: nn.Module, expected: nn.Module) -> float:
    """Return the largest difference of two weights, in units of the precision that float16 has there."""
    pairs = zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    return max(float(((a - b).abs() / (1e-3 * b.abs() + 1e-6)).max()) for a, b in pairs)


def test_descends_on_weighted_cross_entropy_and_on_the_difference_of_entropies() -> None:
    unequal = torch.cat([torch.arange(0, 40, 4), torch.arange(1, 9, 4), torch.arange(2, 48, 32)])
    found = tiny.unlearn(
        "prmq",
        tiny.new_run(),
        {**PARTS, RETAIN: unequal},
        {"lr": 0.2, "weight_decay": 0.01, "batch_size": 64, "epochs": 1.0, "prune": 0.0},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    assert farthest(found, two_plain_steps(unequal, match=1.0)) < 1
    assert farthest(found, two_plain_steps(unequal, match=0.0)) > 10
