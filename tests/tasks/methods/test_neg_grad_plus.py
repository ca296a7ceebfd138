"""NegGrad+ against a plain loop, and the two habits that set it apart: frozen BatchNorm, replayed forget batches."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.check import problem as tiny
from harness.contracts import FORGET, METHODS, RETAIN
from harness.contracts.space import Value
from harness.engine.data import DeviceData
from harness.engine.models import digest
from harness.engine.seeding import generator

LR, MOMENTUM, DECAY, BATCH, EPOCHS = 0.02, 0.9, 1e-3, 8, 2
VALUES = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "batch_size": BATCH, "epochs": EPOCHS}


def cut(positions: Tensor, variant: str) -> tuple[Tensor, ...]:
    """Batches of even size, or full ones and a last one with the rest."""
    if variant == "reference":
        return positions.split(BATCH)
    return positions.tensor_split(math.ceil(len(positions) / BATCH))


def plain_neg_grad_plus(alpha: float, variant: str) -> nn.Module:
    model = tiny.own_copy("cnn_small", torch.float64).eval()
    index, source, order = tiny.uneven_parts(), tiny.data(torch.float64), generator("order", 0)
    velocity = [torch.zeros_like(p) for p in model.parameters()]

    def loss(positions: Tensor) -> Tensor:
        return cross_entropy(model(source.batch(positions)), source.labels[positions])

    for _ in range(EPOCHS):
        retain = cut(index[RETAIN][torch.randperm(26, generator=order)], variant)
        forget = cut(index[FORGET][torch.randperm(14, generator=order)], variant)
        for number, kept in enumerate(retain):
            total = alpha * loss(kept) - (1 - alpha) * loss(forget[number % len(forget)])
            gradients = torch.autograd.grad(total, list(model.parameters()))
            with torch.no_grad():
                for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g + DECAY * p)
                    p.sub_(LR * v)
    return model


@pytest.mark.parametrize("variant", ["default", "reference"])
@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_ends_in_the_weights_of_a_plain_loop(alpha: float, variant: str) -> None:
    found = tiny.unlearn(
        "neg_grad_plus",
        tiny.new_run(),
        tiny.uneven_parts(),
        {**VALUES, "alpha": alpha, "variant": variant},
        model=tiny.own_copy("cnn_small", torch.float64),
        source=tiny.data(torch.float64),
    )
    for name, tensor in plain_neg_grad_plus(alpha, variant).state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=1e-6, msg=name)


def test_batch_norm_statistics_stay_as_they_were() -> None:
    found = tiny.unlearn("neg_grad_plus", tiny.new_run(), tiny.uneven_parts(), VALUES)
    before = dict(tiny.original("cnn_small").named_buffers())
    assert digest(dict(found.named_buffers())) == digest(before)


def test_at_alpha_1_the_forget_part_has_no_say() -> None:
    source = tiny.data()
    images = source.images.clone()
    images[tiny.uneven_parts()[FORGET]] = 255 - images[tiny.uneven_parts()[FORGET]]
    digests = [
        digest(
            tiny.unlearn(
                "neg_grad_plus", tiny.new_run(), tiny.uneven_parts(), {**VALUES, "alpha": 1.0}, source=seen
            ).state_dict()
        )
        for seen in (source, replace(source, images=images))
    ]
    assert digests[0] == digests[1]


def test_forget_batches_are_replayed_in_the_same_order_within_an_epoch_and_shuffled_between_epochs() -> None:
    model = tiny.own_copy("cnn_small")
    with tiny.seen_by(model) as batches:
        tiny.unlearn("neg_grad_plus", tiny.new_run(), tiny.uneven_parts(), VALUES, model=model)
    forget = [tiny.positions_of(batch, tiny.data()) for batch in batches[1::2]]
    epochs = [forget[:4], forget[4:]]
    for first, second, third, fourth in epochs:
        assert (third, fourth) == (first, second)
        assert sorted(first + second) == sorted(tiny.uneven_parts()[FORGET].tolist())
    assert epochs[0] != epochs[1]


class Biased(nn.Linear):
    """A linear model with a parameter named as TinyViT's attention biases are; it has a gradient."""

    def __init__(self) -> None:
        super().__init__(3 * 8 * 8, tiny.CLASSES)
        self.attention_biases = nn.Parameter(torch.ones(tiny.CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1)) + self.attention_biases


def test_reference_alone_leaves_attention_biases_as_they_were_and_thaws_them() -> None:
    for variant, kept in (("default", False), ("reference", True)):
        model = Biased()
        before = model.weight.detach().clone()
        tiny.unlearn("neg_grad_plus", tiny.new_run(), tiny.uneven_parts(), {**VALUES, "variant": variant}, model=model)
        assert torch.equal(model.attention_biases, torch.ones(tiny.CLASSES)) == kept
        assert not torch.equal(model.weight, before)
        assert all(parameter.requires_grad for parameter in model.parameters())


def one_step(source: DeviceData, index: tiny.Parts, variant: str, **values: Value) -> Tensor:
    """How a single step, on whole parts and without momentum, changes the weights."""
    given = {"lr": LR, "momentum": 0.0, "epochs": 1, "batch_size": 26, "variant": variant, **values}
    model = tiny.own_copy("cnn_small", torch.float64)
    found = tiny.unlearn("neg_grad_plus", tiny.new_run(), index, given, model=model, source=source)
    before = tiny.own_copy("cnn_small", torch.float64).parameters()
    return torch.cat([(new - old).detach().flatten() for new, old in zip(found.parameters(), before, strict=True)])


def test_in_advanced_neg_grad_retain_and_forget_are_opposites_of_equal_weight() -> None:
    source, index = tiny.data(torch.float64), tiny.uneven_parts()
    swapped = {**index, RETAIN: index[FORGET], FORGET: index[RETAIN]}
    torch.testing.assert_close(one_step(source, index, "advanced"), -one_step(source, swapped, "advanced"))
    found, expected = (one_step(source, index, "advanced"), one_step(source, index, "default", alpha=0.5))
    assert torch.equal(found, expected)
    same = one_step(source, {**index, FORGET: index[RETAIN]}, "advanced")
    torch.testing.assert_close(same, torch.zeros_like(same))
    spec = METHODS["neg_grad_plus"]
    assert (spec.defaults("advanced")["alpha"], spec.defaults("capped")["alpha"]) == (0.5, 0.5)
    assert not spec.space_of("advanced")["alpha"].searched


def test_capped_leaves_a_forget_batch_alone_that_is_worse_than_a_guess_and_no_other() -> None:
    """Forget is all the images of which the original thinks too little, or all the others."""
    source, index = tiny.data(torch.float64), tiny.uneven_parts()
    both = torch.cat([index[RETAIN], index[FORGET]])
    model = tiny.own_copy("cnn_small", torch.float64).eval()
    losses = cross_entropy(model(source.batch(both)), source.labels[both], reduction="none")
    worse, better = both[losses > math.log(tiny.CLASSES)], both[losses < math.log(tiny.CLASSES)]
    assert len(worse)
    assert len(better)
    for forget, alone in ((worse, True), (better, False)):
        parts = {**index, FORGET: forget}
        found, free = one_step(source, parts, "capped"), one_step(source, parts, "advanced")
        retain = one_step(source, index, "default", alpha=1.0) / 2
        assert torch.allclose(found, retain, rtol=1e-9, atol=1e-15) == alone
        assert torch.equal(found, free) != alone


@pytest.mark.parametrize("variant", ["advanced", "capped"])
def test_a_single_image_to_forget_is_learnt_from(variant: str) -> None:
    source, index = tiny.data(torch.float64), tiny.uneven_parts()
    model = tiny.own_copy("cnn_small", torch.float64).eval()
    sure = index[FORGET][
        cross_entropy(model(source.batch(index[FORGET])), source.labels[index[FORGET]], reduction="none").argmin()
    ]
    one = {**index, FORGET: sure[None]}
    retain = one_step(source, index, "default", alpha=1.0) / 2
    assert not torch.allclose(one_step(source, one, variant), retain, rtol=1e-3)


@pytest.mark.parametrize("variant", ["default", "advanced", "capped", "reference"])
def test_with_nothing_to_forget_the_model_is_the_original_and_a_warning_says_so(variant: str) -> None:
    index = {**tiny.uneven_parts(), FORGET: torch.empty(0, dtype=torch.int64)}
    values = METHODS["neg_grad_plus"].defaults(variant)
    with pytest.warns(UserWarning, match="the model is the original: there is no image to forget"):
        model = tiny.unlearn("neg_grad_plus", tiny.new_run(), index, values)
    assert digest(model.state_dict()) == digest(tiny.original("cnn_small").state_dict())
